"""The window between two log points, in a world of one; several ranks are in test_training.py."""

import math

import pytest
import torch

from ddp.window import Window
from ddp.world import Place, World


def world_of_one() -> World:
    return World(Place(), torch.device("cpu"))


def test_losses_are_means_over_all_micro_batches_of_the_window() -> None:
    window = Window(world_of_one())
    for value in (1.0, 2.0, 6.0):
        window.add_losses(torch.tensor(value), torch.tensor([value, 2 * value, 0.0, 1.0]))

    summary, _ = window.close()

    assert summary.total_loss == pytest.approx(3.0)
    assert summary.terms == pytest.approx((3.0, 6.0, 0.0, 1.0))


def test_a_new_window_knows_nothing_of_the_last() -> None:
    window = Window(world_of_one())
    window.add_losses(torch.tensor(5.0), torch.ones(4))
    window.close()
    window.add_losses(torch.tensor(1.0), torch.zeros(4))

    summary, _ = window.close()

    assert summary.total_loss == 1.0


def test_an_empty_window_reports_unknown_not_zero() -> None:
    window = Window(world_of_one())
    assert window.is_empty

    summary, _ = window.close()

    assert math.isnan(summary.total_loss)
    assert math.isnan(summary.step_seconds)


def test_durations_and_waits_are_seconds_of_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    window = Window(world_of_one())
    window.clock.mark()
    for seconds in (1.0, 2.0, 9.0):
        now[0] += seconds
        window.add_data(0.5, ())
        window.add_losses(torch.tensor(1.0), torch.ones(4))
        window.clock.tick()
    now[0] += 1000.0  # a pause
    window.clock.mark()

    summary, _ = window.close()

    assert summary.step_seconds == 2.0
    assert summary.data_wait_ratio == pytest.approx(1.5 / 12.0)
    assert summary.samples_per_second(batch_size=4) == pytest.approx(3 * 4 / 12.0)
    assert summary.ranks[0].wait_seconds_per_step == pytest.approx(0.5)


def test_skipped_files_are_counted_and_named() -> None:
    window = Window(world_of_one())
    window.add_data(0.0, ("a.png",))
    window.add_data(0.0, ("b.png", "c.png"))

    summary, names = window.close()

    assert summary.skipped == 3
    assert names == ["a.png", "b.png", "c.png"]
