"""What ranks other than 0 keep for the case that rank 0 is killed before it has written it."""

from ddp.recording.null_recorder import MAX_KEPT, NullRecorder


def recorder_with(*steps: int) -> NullRecorder:
    recorder = NullRecorder()
    for step in steps:
        recorder.log_point(step, {"loss": float(step)}, {})
        recorder.record({"step_current": step}, {"quality": float(step)}, [], [])
    return recorder


def test_the_last_records_and_log_points_are_kept_but_not_without_end() -> None:
    recorder = recorder_with(*range(1, 1000))

    assert [record["step_current"] for record in recorder.unsaved_records()] == list(range(1000 - MAX_KEPT, 1000))
    assert len(points := recorder.unsaved_points()) == MAX_KEPT
    assert [(step, dict(values)) for step, _, values in points[-2:]] == [
        (999, {"loss": 999.0}),
        (999, {"quality": 999.0}),
    ]


def test_what_belongs_to_an_abandoned_branch_is_forgotten() -> None:
    recorder = recorder_with(10, 20, 30)

    recorder.branch_off(20, 19, None)

    assert [record["step_current"] for record in recorder.unsaved_records()] == [10]
    assert [step for step, *_ in recorder.unsaved_points()] == [10, 10, 20, 20]
