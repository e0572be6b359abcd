"""The training processes: one per GPU, under torchrun. Never imports flask or `api`."""
