"""The window between two log points, in a world of one; several ranks are in test_training.py."""

import math
from collections.abc import Iterator

import pytest
import torch

from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.metrics.step_metrics import pack, pack_values
from ddp.metrics.window import MetricsWindow, RankTiming, WindowMetrics


def world_of_one() -> World:
    return World(RankEnvironment(), torch.device("cpu"))


class Data:
    """A micro-batch that had to skip files."""

    lr = gt = torch.zeros(0)

    def __init__(self, *skipped: str) -> None:
        self.skipped = skipped


def row(total: float, terms: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0), skipped: bool = False) -> torch.Tensor:
    reduced = pack_values(torch.tensor(total), torch.tensor(terms), torch.tensor([0.5, 0.5]))
    return pack(reduced, torch.tensor(float("nan") if skipped else 1.0))


def test_losses_are_means_over_the_steps_of_the_window_that_were_not_skipped() -> None:
    window = MetricsWindow(world_of_one())
    for value in (1.0, 2.0, 6.0):
        window.add(row(value, (value, 2 * value, 0.0, 1.0)))
    window.add(row(float("nan"), skipped=True))

    summary = window.summarise()

    assert summary.total_loss == pytest.approx(3.0)
    assert summary.terms == pytest.approx((3.0, 6.0, 0.0, 1.0))


def test_looking_at_a_window_changes_nothing_and_restarting_it_forgets() -> None:
    window = MetricsWindow(world_of_one())
    window.add(row(5.0))
    assert window.summarise().total_loss == 5.0
    window.add(row(1.0))
    assert window.summarise().total_loss == 3.0

    window.restart()
    window.add(row(2.0))

    assert window.summarise().total_loss == 2.0


def test_an_empty_window_reports_unknown_not_zero() -> None:
    window = MetricsWindow(world_of_one())
    assert window.is_empty

    summary = window.summarise()

    assert math.isnan(summary.total_loss)
    assert math.isnan(summary.step_seconds)
    assert summary.slow_rank is None


def test_durations_and_waits_are_seconds_of_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow_data() -> Iterator[Data]:
        while True:
            now[0] += 0.5
            yield Data()

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    window, batches = MetricsWindow(world_of_one()), slow_data()
    with window.excluded():  # the first micro-batch of a start, which is walked twice more
        window.next_batch(batches, is_timed=False)
        now[0] += 100.0
    for seconds in (1.0, 2.0, 9.0):
        window.next_batch(batches)
        now[0] += 0.25
        window.timer.local_done()
        now[0] += seconds - 0.75
        window.add(row(1.0))
        window.timer.step_done()
    now[0] += 1000.0  # a pause
    window.timer.restart()

    summary = window.summarise()

    assert summary.step_seconds == 2.0
    assert summary.ranks[0].own_seconds == 0.75
    assert summary.data_wait_ratio == pytest.approx(1.5 / 12.0)
    assert summary.samples_per_second(4) == pytest.approx(3 * 4 / 12.0)
    assert summary.ranks[0].wait_seconds_per_step == pytest.approx(0.5)


def test_skipped_files_are_counted_and_named_once() -> None:
    window = MetricsWindow(world_of_one())
    batches = iter([Data("a.png"), Data("b.png", "c.png")])
    window.next_batch(batches)
    window.next_batch(batches)

    assert window.summarise().skipped == 3
    assert window.restart() == ["a.png", "b.png", "c.png"]
    assert window.restart() == []


def rank(own_seconds: float, steps: int = 10) -> RankTiming:
    return RankTiming(1.0, own_seconds, 10.0, 0.0, steps, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("own_seconds", "slow"),
    [([0.2], None), ([0.2, 0.2], None), ([0.2, 0.5], 1), ([0.5, 0.2, 0.2], 0), ([0.2, 0.25, 0.2], None),
     ([0.5, 0.5, 0.5, 0.1], None)],
)  # fmt: skip
def test_the_slow_rank_is_clearly_slower_than_the_median_rank(own_seconds: list[float], slow: int | None) -> None:
    assert WindowMetrics(1.0, (1.0,) * 4, tuple(rank(seconds) for seconds in own_seconds)).slow_rank == slow


def test_what_is_excluded_counts_for_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    window = MetricsWindow(world_of_one())
    now[0] += 1.0
    window.timer.step_done()
    with window.excluded():
        now[0] += 60.0
    now[0] += 2.0
    window.timer.step_done()

    assert window.timer.durations()[0] == [1.0, 2.0]


def test_few_steps_name_no_slow_rank() -> None:
    assert WindowMetrics(1.0, (1.0,) * 4, (rank(0.1, steps=2), rank(9.0, steps=2))).slow_rank is None


def test_a_window_goes_on_after_a_resume() -> None:
    first, second = MetricsWindow(world_of_one()), MetricsWindow(world_of_one())
    first.add(row(1.0))
    first.add(row(2.0))

    second.restore(first.state())
    second.add(row(6.0))

    assert second.summarise().total_loss == 3.0
    assert not second.is_empty
