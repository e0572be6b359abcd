"""The commands that look at a run, over a real HTTP server."""

import json

import pytest

from service.cli import exit_code
from service.cli.text_table import duration
from service.client import sse
from tests.service.harness.stand_in import Answer, StandIn, command, problem

STREAM = {"Content-Type": "text/event-stream"}


def test_state_is_a_calm_aligned_summary(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = {
        "run_id": "run-1", "run_state": "paused", "run_reason": "by eva", "age_seconds": 0.42, "step_live": 120,
        "step_current": 110, "step_max": 3000, "epoch_num": 2, "epoch_step_current": 5, "epoch_step_total": 60,
        "eta_total_formatted": "00:12:00", "iteration_duration": 0.25, "samples_per_second": 16.0, "world_size": 2,
        "total_loss_value": 0.01234567, "learning_rate_value": 1e-4, "lr_phase_name": "cosine",
        "quality_ki_value": 0.7, "quality_lr_value": 0.6, "best_quality_ever": 0.71, "psnr_ki_db": 30.1,
        "psnr_lr_db": 28.0,
    }  # fmt: skip
    server.on("GET", "/state", Answer(snapshot))

    assert exit_code(["state", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "run            run-1",
        "state          paused (by eva)",
        "heard of       0.4 s ago",
        "step           120 of 3000",
        "epoch          2, step 5 of 60",
        "time left      00:12:00",
        "step time      0.250 s",
        "samples        16.0 per second on 2 ranks",
        "loss           0.01235",
        "learning rate  0.0001 (cosine)",
        "quality KI     0.7000 (LR 0.6000, best 0.7100)",
        "PSNR KI        30.10 dB (LR 28.00 dB)",
    ]


LEDGER = {
    "time_seconds": {
        "useful": 5400.0, "repeated": 60.0, "starting": 40.0, "validating": 500.0, "saving": 0.0, "paused": 0.0,
        "stalled": 0.0, "down": 0.0, "stopped": 0.0, "unknown": 1000.0,
    },
    "incident_counts": {"rank_killed": 1, "rollback": 1}, "steps_lost": 7,
    "incidents": [
        {"kind": "rank_killed", "began_at": None, "detected_at": 1000.0, "named_at": 1000.0, "training_at": 1002.5,
         "step": 9, "steps_lost": 0, "ranks": [1], "recovery": "survivor", "source": "rank 0", "named_by": "launcher",
         "reason": None, "is_over": True, "recovery_seconds": 2.5},
    ],
}  # fmt: skip


def test_state_tells_the_useful_time_and_the_last_incident(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/state", Answer({"run_state": "running", **LEDGER}))

    assert exit_code(["state", "--url", server.url]) == 0
    useful, last = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("useful", "last inc"))]
    assert useful == "useful time    90.0 % of 1 h 56 min; 2 incidents, 7 steps lost"
    assert last.startswith("last incident  rank killed (rank 1) at ")
    assert last.endswith(", went on after 2.5 s from rank 0")


def test_state_before_the_first_log_point_shows_dashes(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/state", Answer({"run_state": "starting", "step_live": 0, "step_current": 3, "run_reason": None}))

    assert exit_code(["state", "--url", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "state          starting"
    assert lines[3] == "step           3 of –"
    assert lines[8] == "loss           –"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10.0 s"), (12, "12 s"), (200, "3 min 20 s"), (18120, "5 h 2 min")],
)
def test_durations_read_like_words(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_runs_are_a_table_with_the_default_marked(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "run_id": "run-2", "run_state": "running", "run_reason": None, "step": 1200, "step_max": 5000,
        "started_at": 0.0, "heartbeat_at": 0.0, "age_seconds": 0.4, "directory": "/runs/b", "is_default": True,
        "url": "/runs/run-2",
    }  # fmt: skip
    other = {**entry, "run_id": "run-1", "run_state": "lost", "step_max": None, "age_seconds": 7200.0,
             "directory": None, "is_default": False}  # fmt: skip
    skipped = [{"directory": "/runs/c", "reason": "a copy of /runs/b"}]
    server.on("GET", "/runs", Answer({"runs": [entry, other], "skipped": skipped}))

    assert exit_code(["runs", "--url", server.url]) == 0
    printed = capsys.readouterr()
    assert printed.err == "skipped: /runs/c (a copy of /runs/b)\n"
    heading, first, second = printed.out.splitlines()
    assert " ".join(heading.split()) == "run state step of started heard of name, directory"
    assert first.startswith("run-2  running  1200  5000  ")
    assert first.endswith("    0.4 s  /runs/b (default)")
    assert second.startswith("run-1  lost     1200     –  ")
    assert second.endswith("  2 h 0 min  –")


def test_no_run_yet_is_said(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/runs", Answer({"runs": [], "skipped": []}))

    assert exit_code(["runs", "--url", server.url]) == 0
    assert "leitstand up" in capsys.readouterr().out


def test_alerts_are_a_table_or_a_good_word(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    alert = {"name": "stalled", "since": 0.0, "sentence": "Nothing moves for 80 s."}
    server.on("GET", "/alerts", Answer({"run_id": "r", "alerts": [alert]}), Answer({"run_id": "r", "alerts": []}))

    assert exit_code(["alerts", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  Nothing moves for 80 s.")
    assert exit_code(["alerts", "--url", server.url]) == 0
    assert capsys.readouterr().out == "No alert is on.\n"


def test_checkpoints_are_a_table_with_their_links(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"name": "step_0000500", "step": 500, "size_bytes": 38_000_000, "saved_at": 0.0, "sha256": "0",
             "links": ["latest", "best"]}  # fmt: skip
    small = {**entry, "name": "step_0000100", "step": 100, "size_bytes": 812, "links": []}
    unreadable = [{"name": "step_7", "reason": "it has no manifest"}]
    body = {"checkpoints": [small, entry], "unreadable": unreadable}
    server.on("GET", "/checkpoints", Answer(body), Answer({"checkpoints": [], "unreadable": []}))

    assert exit_code(["checkpoints", "--url", server.url]) == 0
    printed = capsys.readouterr()
    _, first, second = printed.out.splitlines()
    assert first.startswith("step_0000100   100     812 B  ")
    assert second.startswith("step_0000500   500  36.2 MiB  ")
    assert second.endswith("  latest, best")
    assert printed.err == "unreadable: step_7 (it has no manifest)\n"
    assert exit_code(["checkpoints", "--url", server.url]) == 0
    assert "No checkpoint yet" in capsys.readouterr().out


def test_the_log_is_printed_as_it_is(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/logs", Answer("📊 Statistics saved\nlast".encode(), headers={"Content-Type": "text/plain"}))

    assert exit_code(["log", "--tail", "2", "--url", server.url]) == 0
    assert capsys.readouterr().out == "📊 Statistics saved\nlast"
    assert exit_code(["log", "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == {"log": "📊 Statistics saved\nlast"}
    assert server.targets == ["/logs?tail=2", "/logs?tail=200"]


def test_a_series_is_a_line_for_each_log_point(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["total_loss_value", "psnr_ki_db"]
    values = {"total_loss_value": [0.0123456789, 0.01], "psnr_ki_db": [None, 30.0]}
    server.on("GET", "/series", Answer({"names": names, "steps": [10, 20], "times": [0.0, 1.0], "values": values}))

    options = ["--from", "5", "--branch", "b-1", "--url", server.url]
    assert exit_code(["series", "total_loss_value,psnr_ki_db", *options]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "10"
    assert first.split()[3:] == ["0.0123457", "–"]
    assert second.split()[3:] == ["0.01", "30"]
    assert server.targets == ["/series?names=total_loss_value%2Cpsnr_ki_db&from=5&branch=b-1"]


def test_a_series_of_few_points_is_a_line_for_each_stretch(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stretches = {"steps": [1, 101], "last_steps": [100, 200], "means": [0.5, 0.4], "lows": [0.4, 0.3],
                 "low_steps": [90, 190], "highs": [0.6, 0.5], "high_steps": [2, 102], "counts": [10, 10]}  # fmt: skip
    body = {"names": ["grad_norm"], "series": {"grad_norm": stretches}}
    server.on("GET", "/series", Answer(body))

    assert exit_code(["series", "grad_norm", "--points", "10", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "value      from   to  points  mean  lowest   at  highest   at",
        "grad_norm     1  100      10   0.5     0.4   90      0.6    2",
        "grad_norm   101  200      10   0.4     0.3  190      0.5  102",
    ]
    assert server.targets == ["/series?names=grad_norm&points=10"]


LOGGED = [
    ("started", {"step": 5, "world_size": 2}, ": 2 ranks"),
    ("started", {"step": 5, "world_size": 1}, ": one rank"),
    ("checkpoint", {"checkpoint": "step_0000005"}, ": step_0000005 is saved"),
    ("checkpoint failed", {"checkpoint": "step_0000005", "reason": "no space is left"}, ": no space is left"),
    ("rollback", {"from_step": 9, "checkpoint": "step_0000005", "reason": "asked for by eva", "branch_id": 1},
     ": from step 9 to step_0000005 (asked for by eva)"),
    ("set", {"LR_SCALE": 0.5, "LOG_EVERY": 10}, ": LR_SCALE 0.5, LOG_EVERY 10"),
    ("paused", {}, ""),
    ("slow rank", {"rank": None, "own_seconds": [0.1, 0.1]}, ": all ranks are equally fast again"),
    ("slow rank", {"rank": 1, "own_seconds": [0.1, 0.25]},
     ": rank 1 is slower than the others (0.25 s per step by itself)"),
    ("not finite", {"steps": [4, 5], "in_a_row": 2},
     ": a loss or gradient was not finite, so no weight changed in step 4, 5"),
    ("left out", {"files": ["a: broken", "b: broken", "c: broken", "d: broken"]},
     ": a: broken, b: broken, c: broken and 1 more"),
    ("data changed", {"training": {"before": "a", "now": "b", "count_before": 9, "count_now": 8}},
     ": another training set (9 before, 8 now)"),
    ("initial weights", {"init_from": "a", "sentence": "INIT_FROM a: all match."}, ": INIT_FROM a: all match."),
    ("mode", {"step": 5, "before": "Warmup", "after": "Settling", "reason": "5 steps are done"},
     ": Settling (5 steps are done)"),
    ("weights", {"before": {"l1_weight": 0.6}, "after": {"l1_weight": 0.57843, "ms_weight": 0.2}, "reason": "blurry"},
     ": l1_weight 0.5784, ms_weight 0.2 (blurry)"),
    ("branch", {"é": 1}, ": é 1"),
]  # fmt: skip
"""Entries of the event log: kind, details, and the words for them."""

EVENTS = [
    ("state", {"run_state": "running", "step_live": 120}, "state    running at step 120"),
    ("log", {"step": 120, "time": 1.0, "values": {"total_loss_value": 0.0123456}}, "log      step 120: loss 0.01235"),
    ("record", {"time": 1.0, "step": 500, "name": "Statistik_500.json", "quality_ki_value": 0.7},
     "record   Statistik_500.json: quality KI 0.7000, LR –"),
    ("command", {"time": 1.0, **command("done", step=12, result={"record": "Statistik_12.json"})},
     "command  validate done at step 12: record Statistik_12.json"),
    ("alert", {"time": 1.0, "name": "stalled", "is_on": True, "since": 1.0, "sentence": "Nothing moves."},
     "alert    stalled is on: Nothing moves."),
    ("alert", {"time": 1.0, "name": "stalled", "is_on": False, "since": 1.0, "sentence": "It moves again."},
     "alert    stalled is over: It moves again."),
    *(("event", {"id": 7, "kind": kind, "step": 5, "time": 1.0, "details": details}, f"event    {kind} at step 5{text}")
      for kind, details, text in LOGGED),
    ("event", {"id": 7, "kind": "paused", "step": None, "time": 1.0, "details": {}}, "event    paused"),
    ("news", {"é": 1, "share": 0.123456, "nested": {"a": 1}}, "news     é 1, share 0.1235"),
    ("run", {"run_id": "b", "started_at": 1.0, "previous_run_id": "a"}, "run      b began, a is over"),
    ("gap", {"first_step": 100, "last_step": 900}, "gap      the log points of steps 100 to 900 are left out"),
]  # fmt: skip


@pytest.fixture
def streaming(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stream of all kinds of events, and then no more."""
    monkeypatch.setattr(sse, "DEFAULT_PAUSE_SECONDS", 0.02)
    texts = [f"id: {at}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for at, (kind, data, _) in enumerate(EVENTS)]
    server.on("GET", "/events", Answer("".join(texts).encode(), headers=STREAM), problem(404, "The run is gone."))
    return server


def test_events_are_a_line_each(streaming: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["events", "--kinds", "state, log", "--after", "7", "--url", streaming.url]) == 2
    printed = capsys.readouterr()
    assert [line.split("  ", 1)[1] for line in printed.out.splitlines()] == [text for _, _, text in EVENTS]
    assert printed.err == "Error: The run is gone.\n"
    assert streaming.targets[0] == "/events?kinds=state%2Clog"
    assert streaming.requests[0].headers["Last-Event-ID"] == "7"


def test_events_as_json_are_an_object_a_line(streaming: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["events", "--json", "--url", streaming.url]) == 2
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["id"], event["kind"], event["data"]) for event in found] == [
        (str(at), kind, data) for at, (kind, data, _) in enumerate(EVENTS)
    ]


def test_runs_have_their_names(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "run_id": "run-2", "run_state": "running", "run_reason": None, "step": 120, "step_max": 3000,
        "started_at": 0.0, "heartbeat_at": 0.0, "age_seconds": 0.4, "directory": "/runs/b", "is_default": True,
        "url": "/runs/run-2", "name": "deeper network", "note": "twice the blocks", "quality": 0.7,
        "best_quality": 0.71,
    }  # fmt: skip
    server.on("GET", "/runs", Answer({"runs": [entry], "skipped": []}))

    assert exit_code(["runs", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  deeper network, /runs/b (default)")


def test_the_state_begins_with_the_name_and_the_note(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/state", Answer({"run_id": "run-1", "run_name": "deeper network", "run_note": "of run 3"}))

    assert exit_code(["state", "--url", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["run            run-1", "name           deeper network", "note           of run 3"]


def test_commands_and_events_tell_the_reason(streaming: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    given = command("done", kind="pause", step=120, why="the machine is needed")
    streaming.on("GET", "/commands", Answer({"commands": [given], "next_cursor": None}))

    assert exit_code(["commands", "--url", streaming.url]) == 0
    assert "pause done at step 120 (why: the machine is needed)" in capsys.readouterr().out
