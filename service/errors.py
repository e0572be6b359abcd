"""The errors that people see: one sentence each, with the value that was wrong and what to do about it."""


class UserError(Exception):
    """Something a person can put right. Every entry point prints its text alone and exits with `exit_code`."""

    exit_code = 2


class SettingError(UserError):
    """A setting is unknown, of the wrong type, or out of its range."""


class RunDirectoryError(UserError):
    """The run directory cannot be used as asked: it is not writable, or it already holds a run."""


class DatasetError(UserError):
    """The data are missing, empty, or unusable as a whole."""


class CommandError(UserError):
    """A command cannot be accepted: unknown kind, bad arguments, or the run's state forbids it."""


class MemoryShortageError(UserError):
    """One rank's memory does not hold a step. Only that rank knows, so it prints the sentence itself."""


class TrainingFailedError(UserError):
    """The training cannot go on as it is set up; all ranks know."""
