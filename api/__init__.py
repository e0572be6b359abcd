"""The HTTP process: reads the store and the run directory, submits commands. Never imports torch or `ddp`."""
