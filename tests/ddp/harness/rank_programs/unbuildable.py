"""A workload whose network cannot be built."""

from service.config.settings import RunConfig


def build(config: RunConfig) -> None:
    raise ValueError(f"no network has {config.n_feats} features")
