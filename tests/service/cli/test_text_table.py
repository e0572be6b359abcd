"""Tables in the width of a terminal, and whole lines for programs."""

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest

from service.cli import exit_code
from service.cli.text_table import TextTable, broken, short_moment, side_by_side, table
from tests.service.harness.stand_in import Answer, StandIn, command, page

WIDTH = 80
NAMES = ("quality_lr_value", "quality_ki_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db")
RUN_IDS = [f"5f0c1e77ab{number:02}" for number in range(12)]
NOW = time.time()


class TerminalOutput(io.StringIO):
    """What a program prints to a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> TerminalOutput:
    """A terminal of 80 columns. A test redirects its output there: pytest sets its own after the fixtures."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    return TerminalOutput()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]), ("/a/path/without/spaces", ["/a/path/", "without/", "spaces"]),
        ("short", ["short"]), ("", [""]), ("ab abcdefghij", ["ab", "abcdefgh", "ij"]),
    ],
)  # fmt: skip
def test_a_text_is_broken_between_words_and_within_long_ones(text: str, lines: list[str]) -> None:
    assert broken(text, 8) == lines


def test_a_row_without_room_continues_on_the_next_line() -> None:
    made = TextTable(("name", "what"), frozenset({0, 1}), frozenset({1}), max_width=22)

    assert made.render([("a", "a sentence of some words"), ("bcde", "short")]).splitlines() == [
        "name  what",
        "a     a sentence of",
        "      some words",
        "bcde  short",
    ]


def test_a_column_is_not_made_unreadably_narrow() -> None:
    made = TextTable(("name", "what"), frozenset({0, 1}), frozenset({1}), max_width=10)

    assert made.render([("a" * 20, "twelve wide is left")]).splitlines()[1] == f"{'a' * 20}  twelve wide"


def test_columns_without_room_are_another_table_below(terminal: TerminalOutput) -> None:
    columns = {name: ["0.5"] for name in RUN_IDS}

    with redirect_stdout(terminal):
        tables = side_by_side({"step": ["100"]}, columns, frozenset()).split("\n\n")

    assert [name for made in tables for name in made.split("\n")[0].split()[1:]] == RUN_IDS
    assert len(tables) == 3
    assert all(made.split("\n")[1].split()[0] == "100" for made in tables)


@pytest.mark.parametrize(
    ("before", "length"), [(0, 8), (3 * 24 * 3600, 12), (30 * 24 * 3600, 10)], ids=["now", "days", "month"]
)
def test_a_time_takes_twelve_columns_at_most(before: float, length: int) -> None:
    assert len(short_moment(time.time() - before)) == length
    assert short_moment(None) == "–"


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone for the time of a test."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "zone", ["UTC", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"], indirect=True
)
def test_a_date_is_that_of_the_time_zone_also_where_clocks_are_changed_at_midnight(zone: str) -> None:
    begin = 1_293_840_000  # 2011; that year clocks were changed in all of these, Apia left out a day
    for at in range(begin, begin + 366 * 24 * 3600, 1777):
        assert short_moment(at + 0.5) == time.strftime("%Y-%m-%d", time.localtime(at)), zone


def test_cells_may_hold_what_a_format_would_read_and_what_no_terminal_may_get() -> None:
    made = TextTable(("name", "share"), frozenset({0}))

    assert made.render([("100 %s", "5 %"), ("a\x1bb", "{}")]).splitlines() == [
        "name    share",
        "100 %s    5 %",
        "a\\x1bb     {}",
    ]


def record(step: int) -> dict[str, Any]:
    return {
        "name": f"Statistik_{step}.json", "step": step, "trigger": "schedule", "quality_ki_value": 0.7,
        "quality_lr_value": 0.6, "quality_improvement_value": 0.1, "validation_loss_value": 0.01, "psnr_ki_db": 30.0,
        "modified_at": NOW - 3 * 24 * 3600,
    }  # fmt: skip


RUN = {
    "run_id": RUN_IDS[0], "run_state": "finished", "run_reason": None, "step": 1_000_000, "step_max": 1_000_000,
    "started_at": NOW - 3 * 24 * 3600, "heartbeat_at": 0.0, "age_seconds": 100_000.0,
    "directory": "/data/experiments/super-resolution/2026-11/first-of-many", "is_default": True, "url": "/runs/r",
}  # fmt: skip
RANK = {
    "rank": 127, "host": "gpu-node-0042.cluster.example", "pid": 4194303, "device": "cuda:7", "stage": "all-reduce",
    "stage_seconds": 3000.0, "step": 1_000_000, "age_seconds": 2000.0,
}  # fmt: skip
CHECKPOINT = {
    "name": "step_1000000", "step": 1_000_000, "size_bytes": 10**10, "saved_at": NOW - 3 * 24 * 3600,
    "links": ["latest", "best"],
}  # fmt: skip
REASON = "no trainer was there to carry it out within 60 s"
SETTING = {
    "name": "PLATEAU_SAFETY_THRESHOLD", "value": 1_000_000, "start_value": 800, "range": "whole number, 1 to 1000000",
    "meaning": "",
}  # fmt: skip
SERIES = {name: [0.123456789] for name in NAMES}
STRETCHES = {"steps": [10**6], "last_steps": [10**6], "means": [0.123456], "lows": [0.123456], "low_steps": [10**6],
             "highs": [0.123456], "high_steps": [10**6], "counts": [10**6]}  # fmt: skip

VIEWS: dict[str, tuple[str, Any]] = {
    "runs": ("/runs", {"runs": [RUN, {**RUN, "is_default": False}], "skipped": []}),
    "ranks": ("/ranks", {"ranks": [RANK]}),
    "alerts": ("/alerts", {"alerts": [{"name": "slow rank", "since": NOW, "sentence": "It is slow. " * 12}]}),
    "checkpoints": ("/checkpoints", {"checkpoints": [CHECKPOINT], "unreadable": []}),
    "commands": (
        "/commands",
        page("commands", [command("expired", id=32 * "a", actor="eva@192.168.100.100", created_at=NOW, reason=REASON)]),
    ),
    "stats list": ("/statistics", {"records": [record(500), record(1_000_000)], "unreadable": [], "count": 2}),
    "stats compare": (
        "/statistics/compare",
        {"names": list(NAMES), "runs": RUN_IDS,
         "records": [{"run_id": run, "step": 10**6, "values": dict.fromkeys(NAMES, 0.712345)} for run in RUN_IDS]},
    ),
    "settings": (
        "/settings",
        {"changeable": [SETTING], "pins": {}, "changes": {SETTING["name"]: 1}, "pending": [
            {"command_id": "", "changes": {SETTING["name"]: 5}, "apply_at_step": 5}]},
    ),
    "series a": ("/series", {"names": list(NAMES), "steps": [10**6], "times": [NOW], "values": SERIES}),
    "series a --points 10": ("/series", {"names": list(NAMES), "series": dict.fromkeys(NAMES, STRETCHES)}),
}  # fmt: skip


@pytest.mark.parametrize("line", VIEWS)
def test_every_table_fits_a_terminal_of_80_columns_with_all_its_values(
    server: StandIn, terminal: TerminalOutput, line: str
) -> None:
    path, answer = VIEWS[line]
    server.on("GET", path, answer if isinstance(answer, Answer) else Answer(answer))

    with redirect_stdout(terminal):
        assert exit_code([*line.split(), "--url", server.url]) == 0
    assert terminal.getvalue()
    assert [text for text in terminal.getvalue().splitlines() if len(text) > WIDTH] == []


@pytest.mark.parametrize("line", ["runs", "ranks", "alerts", "commands", "stats list", "settings"])
def test_for_programs_a_row_stays_one_line(server: StandIn, capsys: pytest.CaptureFixture[str], line: str) -> None:
    path, answer = VIEWS[line]
    server.on("GET", path, answer if isinstance(answer, Answer) else Answer(answer))

    assert exit_code([*line.split(), "--url", server.url]) == 0
    rows = len(next(iter(answer.body.values() if isinstance(answer, Answer) else answer.values())))
    assert len(capsys.readouterr().out.splitlines()) == 1 + rows


@pytest.mark.parametrize("line", ["runs", "ranks", "alerts", "checkpoints", "commands", "settings"])
def test_on_a_terminal_of_40_columns_no_line_is_broken_by_the_terminal(
    server: StandIn, terminal: TerminalOutput, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path, answer = VIEWS[line]
    server.on("GET", path, answer if isinstance(answer, Answer) else Answer(answer))

    with redirect_stdout(terminal):
        assert exit_code([*line.split(), "--url", server.url]) == 0
    assert [text for text in terminal.getvalue().splitlines() if len(text) > 40] == []


def test_without_room_for_a_table_each_row_is_a_list_of_its_cells(
    terminal: TerminalOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    with redirect_stdout(terminal):
        made = table(("run", "state", "of"), [("a" * 20, "running", "10"), ("b", "", "20")])
    assert made == f"run    {'a' * 13}\n       {'a' * 7}\nstate  running\nof     10\n\nrun    b\nof     20"
