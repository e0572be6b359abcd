"""Steps, samples and epochs."""

import pytest

from ddp.step.progress import Progress, format_duration
from service.config.settings import RunConfig

CONFIG = RunConfig(batch_size=2, accumulation_steps=2, max_steps=100)


@pytest.mark.parametrize(
    ("steps", "epoch", "epoch_step"), [(0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 2, 1), (4, 2, 2), (5, 2, 3), (6, 3, 1)]
)
def test_epochs_follow_the_samples_also_where_an_epoch_ends_inside_a_step(
    steps: int, epoch: int, epoch_step: int
) -> None:
    progress = Progress(step=steps, samples_seen=steps * 8)

    report = progress.report(CONFIG, sample_count=20, world_size=2)  # 20 samples an epoch, 8 a step

    assert (report["epoch_num"], report["epoch_step_total"]) == (epoch, 3)
    assert report["epoch_step_current"] == epoch_step


def test_the_best_quality_is_never_lowered_and_survives_a_checkpoint() -> None:
    progress = Progress(step=5)
    progress.note_validation(0.5)
    progress.step = 10
    progress.note_validation(0.4)

    again = Progress()
    again.restore(progress.state())

    assert (again.best_quality, again.best_step, again.validated_step) == (0.5, 5, 10)


def test_a_validation_without_one_readable_image_is_not_the_best() -> None:
    progress = Progress(step=5)
    progress.note_validation(float("nan"))

    assert progress.best_quality is None
    assert progress.validated_step == 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.6, "00:01:00"), (3723, "01:02:03"), (360_000 + 61, "100:01:01"), (float("nan"), "--:--:--"),
     (float("inf"), "--:--:--")],
)  # fmt: skip
def test_durations_are_hours_minutes_seconds_beyond_a_hundred_hours(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_going_back_never_goes_back_to_an_earlier_branch() -> None:
    saved = Progress(step=10, samples_seen=40, branch=0).state()
    progress = Progress(step=30, samples_seen=120, branch=2)

    progress.restore(saved)

    assert (progress.step, progress.samples_seen, progress.branch) == (10, 40, 2)
