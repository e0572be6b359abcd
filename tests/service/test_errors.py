"""What keeps names from elsewhere from doing anything on a terminal or in a log, and what people read of errors."""

import json
import logging
import pickle
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from service.errors import PrintableFormatter, plain_reason, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("Übung – 中文 📊 é می\u200cخواهم", "Übung – 中文 📊 é می\u200cخواهم"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("gpj.\u202excod", r"gpj.\u202excod"),
        ("a\u2028b\u2029c\u0085d", r"a\u2028b\u2029c\x85d"),
        ("\ufeffhidden\u200b\u2066", r"\ufeffhidden\u200b\u2066"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
    ],
)
def test_what_would_break_a_line_or_change_its_look_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_a_text_may_keep_its_own_line_breaks() -> None:
    assert printable("a\tb\n\x07c\n", kept="\n\t") == "a\tb\n\\x07c\n"


def test_a_message_is_one_line_and_a_traceback_is_indented() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("12:00 %(message)s"))
    error = ValueError("a\n12:00 forged\x1b[31m")
    record = logging.LogRecord("ddp", logging.ERROR, "a.py", 1, "%s is broken", ("b\n12:00 forged",), None)
    record.exc_info = (ValueError, error, None)
    handler.handle(record)

    first, *others = stream.getvalue().splitlines()
    assert first == r"12:00 b\n12:00 forged is broken"
    assert others[0] == "    ValueError: a"
    assert all(line.startswith("    ") for line in others)
    assert others[-1] == r"    12:00 forged\x1b[31m"


def failed(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as error:  # noqa: PT011 - whatever Python raises
        act()
    return error.value


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: Path("/nowhere/at/all").read_bytes(), "No such file or directory"),
        (lambda: json.loads('{"a": }'), "not JSON at line 1, column 7"),
        (lambda: b"\xff".decode(), "not text in UTF-8"),
        (lambda: {}["run_id"], "run_id is missing"),
        (lambda: json.loads("[" * 100_000), "nested too deeply"),
        (lambda: pickle.loads(b"no pickle"), "not a file of torch, or with more than tensors in it"),
        (lambda: float("x"), "'x' is not a number"),
        (lambda: int("x"), "'x' is not a number"),
        (lambda: dict(5), "something in it is of the wrong kind"),  # type: ignore[call-overload]
        (lambda: pytest.fail("Weights only. In version 2.6 we changed it."), "Weights only"),
        (lambda: next(iter([])), "StopIteration"),
    ],
)
def test_an_error_of_python_is_told_without_numbers_paths_and_classes(act: Callable[[], object], reason: str) -> None:
    assert plain_reason(failed(act)) == reason
