"""The lines of `training.log` as events; what they say otherwise is passed over."""

from datetime import datetime

import pytest

from service.store.log_events import events_in

AT = "2026-11-30 13:16:01,406"


def found(*texts: str) -> list[tuple[int, str, object]]:
    return [(event.step, event.kind, event.details) for event in events_in(f"{AT} INFO {text}\n" for text in texts)]


def test_what_happened_to_a_run_is_read_from_its_lines() -> None:
    assert found(
        "Starting at step 0: 2 ranks on cpu, 11 training samples, 3 validation images.",
        "Settings changed at step 4: LR_SCALE=0.5, L1_WEIGHT=adaptive, VAL_STEP_EVERY=4",
        "Checkpoint saved: step_0000005",
        "Paused at step 7.",
        "Going on at step 7.",
        "Skipped, because the loss or a gradient was not finite: step 8, 9.",
        "Rolled back from step 12 to step_0000005 (3 steps (8, 9); not finite); this is branch 1.",
        "Resuming at step 5: 3 ranks on cpu, 11 training samples, 3 validation images.",
    ) == [
        (0, "started", {"step": 0, "world_size": 2}),
        (4, "set", {"LR_SCALE": 0.5, "L1_WEIGHT": "adaptive", "VAL_STEP_EVERY": 4}),
        (5, "checkpoint", {"checkpoint": "step_0000005"}),
        (7, "paused", {}),
        (7, "resumed", {}),
        (9, "not finite", {"steps": [8, 9]}),
        (
            5, "rollback",
            {"from_step": 12, "checkpoint": "step_0000005", "reason": "3 steps (8, 9); not finite", "branch_id": 1},
        ),
        (5, "started", {"step": 5, "world_size": 3}),
    ]  # fmt: skip


def test_the_time_of_a_line_is_that_of_this_machines_clock() -> None:
    (event,) = events_in([f"{AT} INFO Paused at step 7.\n"])
    assert event.time == datetime(2026, 11, 30, 13, 16, 1, 406_000).timestamp()


def test_other_lines_and_damaged_ones_are_passed_over() -> None:
    assert found("step 7/24  loss 0.05510", "Settings changed at step 4: NO_SETTING=1", "Paused at step") == []
    assert [*events_in(["", "  File x", "2026-99-30 13:16:01,406 INFO Paused at step 7.\n", "Paused at step 7."])] == []


def test_stalls_are_read_from_the_sentences_of_the_watchdog() -> None:
    stalls = (
        "Rank 1 (gpu-07) has been in stage data for 62 s at step 512; the others wait for it in all-reduce.",
        "Rank 2 (gpu-08) has been silent for 61 s, last in stage all-reduce: frozen, cut off or gone.",
        "All ranks have waited in all-reduce for 75 s at step 9; look at the network between them.",
    )
    ends = ("Rank 1 (gpu-07) goes on after 75 s.", "All ranks go on after 80 s.")
    assert found(*stalls, *ends) == [
        (0, "stalled", {"rank": 1, "stage": "data", "seconds": 62.0, "reason": stalls[0]}),
        (0, "stalled", {"rank": 2, "stage": None, "seconds": 61.0, "reason": stalls[1]}),
        (0, "stalled", {"rank": None, "stage": None, "seconds": 75.0, "reason": stalls[2]}),
        (0, "going on", {"seconds": 75.0, "reason": ends[0]}),
        (0, "going on", {"seconds": 80.0, "reason": ends[1]}),
    ]


@pytest.mark.parametrize(
    ("sentence", "seconds", "source", "lost"),
    [
        (
            "Rank 1 (process 7) was ended by SIGKILL; all ranks train again 1.9 s later, from the state of rank 0, "
            "step 2573; no step was lost.",
            1.9, "rank 0", 0,
        ),
        (
            "A rank ended; all ranks train again 4.0 s later, from the state of step_0000016, step 16; "
            "3 steps were lost.",
            4.0, "step_0000016", 3,
        ),
        ("A rank ended; all ranks train again, anew.", None, None, None),
    ],
)  # fmt: skip
def test_a_recovery_is_read_from_its_sentence(
    sentence: str, seconds: float | None, source: str | None, lost: int | None
) -> None:
    details = {"seconds": seconds, "source": source, "steps_lost": lost, "reason": sentence}

    assert found(sentence) == [(0, "recovered", details)]
