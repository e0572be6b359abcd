"""Errors shown to the user: one sentence each, which names the wrong value and a remedy."""


class UserError(Exception):
    """An error that the user can correct. Every entry point prints its text alone and exits with `exit_code`."""

    exit_code = 2


class SettingError(UserError):
    """A setting that is unknown, of the wrong type, or out of range."""


class RunDirectoryError(UserError):
    """A run directory that cannot be used as requested: it is not writable, or it already holds a run."""


class DatasetError(UserError):
    """A data set that is missing, empty, or entirely unusable."""


class CommandError(UserError):
    """A command that cannot be accepted: unknown kind, invalid arguments, or not allowed in the run's state."""


class MemoryShortageError(UserError):
    """A training step that does not fit into one rank's memory; only that rank detects it, so it prints the text."""


class TrainingFailedError(UserError):
    """A training that cannot continue with its present settings; raised on all ranks."""
