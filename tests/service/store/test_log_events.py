"""The lines of `training.log` as events; what they say otherwise is passed over."""

from datetime import datetime

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
