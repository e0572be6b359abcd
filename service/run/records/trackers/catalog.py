"""Which experiment trackers there are."""

from importlib import import_module

from service.run.records.trackers.tracked_run import Tracker

TITLES = {"mlflow": "MLflow", "wandb": "Weights & Biases", "trackio": "Trackio", "aim": "Aim"}
"""Trackers by name, as sentences call them; `NAME_tracker` beside this module has `NAMETracker`."""


def open_tracker(name: str, where: str | None, experiment: str) -> Tracker:
    """Open a tracker of TITLES; `where` is None for the place of its own variables or default. Raises `UserError`."""
    module = import_module(f"service.run.records.trackers.{name}_tracker")
    tracker: Tracker = getattr(module, f"{name.capitalize()}Tracker")(where, experiment)
    return tracker
