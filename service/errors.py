"""What people read: errors, one sentence each that names the wrong value and a remedy, and text from elsewhere.

`Problem` is an error as the API answers it.

Names of files, hosts and people may hold anything. `printable` keeps them from breaking a line, changing colours or
turning the direction of writing, wherever they are printed or logged.
"""

import errno
import json
import logging
import pickle
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NotRequired, Self

from typing_extensions import TypedDict  # required by pydantic before Python 3.12

UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
"""Control characters, line breaks, invisible characters, those that set the direction of writing, broken encodings."""

LAST_STATE_UNSAVED = 74
"""Exit code of a training whose last state is not on disk: EX_IOERR of sysexits.h. A restart would end the same way."""

MAX_SENTENCES = 3
"""How many errors of one request are told in its text; programs get all of them."""


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "mend the permissions"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), "move away what is in its place"),
    errno.EROFS: "mount it for writing",
}
"""What to do about an error of a file system, where its number says it."""


class FieldError(TypedDict):
    """What is wrong with one part of a request.

    It is a member of the body at `pointer` (RFC 6901, as a fragment), a `parameter` of the query, or a `header`.
    """

    detail: str
    pointer: NotRequired[str]
    parameter: NotRequired[str]
    header: NotRequired[str]


class Problem(TypedDict):
    """An error: `application/problem+json` (RFC 9457); `errors` lists all wrong parts of the request, if it has any."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]  # missing if the request could not be parsed
    errors: NotRequired[list[FieldError]]


class ProblemExplanation(TypedDict):
    """What a type of problem means, and what to do about it."""

    type: str
    title: str
    status: int
    meaning: str
    advice: str


class UserError(Exception):
    """An error that the user can correct. Every entry point prints its text alone and exits with `exit_code`."""

    exit_code = 2


class SettingError(UserError):
    """A setting that is unknown, of the wrong type, or out of range, or several that contradict each other.

    `settings` names those that do.
    """

    def __init__(self, text: str, settings: Collection[str] = ()) -> None:
        super().__init__(text)
        self.settings = tuple(settings)


class RunDirectoryError(UserError):
    """A run directory that cannot be used as requested: it is not writable, or it already holds a run."""


class DatasetError(UserError):
    """A data set that is missing, empty, or entirely unusable."""


class CommandError(UserError):
    """A command that cannot be accepted: unknown kind, invalid arguments, or not allowed in the run's state.

    `members` has a sentence for each wrong member of its arguments, by the name that was given.
    """

    def __init__(self, text: str, members: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.members = dict(members or {})

    @classmethod
    def of_members(cls, members: Mapping[str, str]) -> Self:
        """Return the error for all wrong members together, at least one."""
        return cls(joined_sentences(members.values()), members)

    def renamed(self, names: Mapping[str, str]) -> "CommandError":
        """Return the same error with `names` in place of the members' names."""
        return CommandError(str(self), {names.get(name, name): text for name, text in self.members.items()})


class MemoryShortageError(UserError):
    """A training step that does not fit into one rank's memory; only that rank detects it, so it prints the text."""


class TrainingFailedError(UserError):
    """A training that cannot continue with its present settings; raised on all ranks."""


class RepeatedFailureError(TrainingFailedError):
    """A rank that fails after a restart as it did before; only that rank knows, so it prints the text."""


def plain_reason(error: BaseException | None) -> str:
    """Return why something could not be read or written, in words for people: no number, path or class of Python."""
    match error:
        case OSError(strerror=str(reason)):
            return reason
        case json.JSONDecodeError():
            return f"not JSON at line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return "not text in UTF-8"
        case KeyError(args=[name]):
            return f"{name} is missing"
        case RecursionError():
            return "nested too deeply"
        case TypeError() | AttributeError():
            return "something in it is of the wrong kind"
        case pickle.UnpicklingError():
            return "not a file of torch, or with more than tensors in it"
    if number := re.match(r"(?:could not convert string to float|invalid literal for int\(\) .*?): (.*)", str(error)):
        return f"{number[1]} is not a number"
    sentence = re.split(r"\.\s|\n", str(error), maxsplit=1)[0].rstrip(".")
    return sentence or type(error).__name__


def reason_and_remedy(error: OSError) -> str:
    """Return why something could not be written, and what to do where that is known: `File too large: make room`."""
    remedy = _REMEDIES.get(error.errno or 0)
    return plain_reason(error) + (f": {remedy}" if remedy else "")


def printable(text: str, kept: str = "") -> str:
    r"""Return `text` as it may be printed: `\n`, `\x1b` or `\u202e` for such a character, except for those in `kept`.

    A byte of a file's name that is not UTF-8 becomes `\xe9`.
    """
    return UNPRINTABLE.sub(lambda match: match[0] if match[0] in kept else _escape(match[0]), text)


def checked_text(name: str, value: Any, max_length: int, kept: str = "") -> str | None:
    """Return a text that a person gave as `name`, without spaces around it; None for null and for an empty one.

    Raises `ValueError` with a sentence if it is no text, is longer than `max_length` characters, or has unprintable
    characters other than those in `kept`.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shortened(repr(value))}, but must be a text, or null for none.")  # noqa: TRY004
    text = value.strip()
    if len(text) > max_length:
        raise ValueError(f"{name} has {len(text)} characters, but may have at most {max_length}; shorten it.")
    if found := next((match for match in UNPRINTABLE.findall(text) if match not in kept), None):
        raise ValueError(f"{name} has the character {_escape(found)}, which cannot be printed; leave it out.")
    return text or None


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


class PrintableFormatter(logging.Formatter):
    """Formats each message as one printable line; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record: no part of a name or of a traceback in it looks like another record."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        # Not the traceback in the record that another formatter has left there.
        traceback = [] if record.exc_info is None else self.formatException(record.exc_info).split("\n")
        stack = [] if record.stack_info is None else record.stack_info.split("\n")
        lines = [f"    {printable(line)}" for line in (*traceback, *stack)]
        return "\n".join([printable(self.formatMessage(record)), *lines])


def joined_sentences(sentences: Iterable[str]) -> str:
    """Join the sentences of several errors for people; of many, only the first ones."""
    listed = list(sentences)
    more = len(listed) - MAX_SENTENCES
    rest = [f"{more} more {'is' if more == 1 else 'are'} wrong."] if more > 0 else []
    return " ".join([*listed[:MAX_SENTENCES], *rest])
