"""What a restored state says about its data, against those of this start."""

from dataclasses import replace

import pytest

from ddp.adaptive.controller import Controller
from ddp.step.data_continuity import DataContinuity
from ddp.step.progress import Progress
from ddp.workload import DataIdentity
from service.config.settings import RunConfig

DATA = DataIdentity("aaaa", "bbbb", 40, 3)
CONFIG = RunConfig(batch_size=4)


def restored(saved: Progress, data: DataIdentity) -> tuple[Progress, Controller, DataContinuity]:
    """The state of a run on `DATA`, restored by a start on `data`."""
    progress, controller = Progress(), Controller.of(CONFIG, has_perceptual=False)
    continuity = DataContinuity(data, progress, controller)
    controller.plateau.learn_quality(0.7)
    controller.plateau.learn(0.1)
    progress.restore(saved.state())
    continuity.restore(DataContinuity(DATA, saved, controller).state())
    return progress, controller, continuity


def seen(samples: int) -> Progress:
    return Progress(step=samples // 4, samples_seen=samples, best_quality=0.7, best_step=10)


def test_the_same_data_change_nothing_and_say_nothing() -> None:
    progress, controller, continuity = restored(seen(400), DATA)

    assert progress == seen(400)
    assert controller.plateau.best_quality == 0.7
    continuity.report(lambda *_: pytest.fail("nothing has changed"))


@pytest.mark.parametrize(("samples", "epoch"), [(0, 1), (4, 2), (40, 2), (44, 3), (400, 11)])
def test_another_training_set_begins_the_next_epoch_at_its_first_sample(samples: int, epoch: int) -> None:
    progress, controller, _ = restored(seen(samples), replace(DATA, training="cccc", sample_count=442))
    progress.samples_seen += 4

    assert progress.position == 4
    report = progress.report(CONFIG, 442, world_size=1)
    assert (report["epoch_num"], report["epoch_step_current"]) == (epoch, 1)
    assert progress.best_quality == 0.7
    assert (controller.plateau.mean, controller.plateau.best_quality) == (None, 0.7)


def test_a_third_set_counts_on_from_the_second() -> None:
    progress, _, _ = restored(seen(400), replace(DATA, training="cccc", sample_count=20))
    progress.samples_seen += 30  # epochs 11 and 12
    third = Progress()
    third.restore(progress.state())
    third.begin_training_set(20)
    third.samples_seen += 4

    assert third.report(CONFIG, 100, world_size=1)["epoch_num"] == 13


def test_another_validation_set_forgets_the_best_and_the_quality_of_a_plateau() -> None:
    progress, controller, continuity = restored(seen(400), replace(DATA, validation="cccc", image_count=5))
    told: list[object] = []
    continuity.report(lambda kind, details: told.append((kind, details)))

    assert (progress.best_quality, progress.best_step, progress.position) == (None, None, 400)
    assert (controller.plateau.quality, controller.plateau.best_quality) == (None, None)
    changes = {"validation": {"before": "bbbb", "now": "cccc", "count_before": 3, "count_now": 5}}
    assert told == [("data changed", changes)]


def test_a_state_of_an_earlier_version_goes_on_as_it_is() -> None:
    progress, controller = Progress(samples_before=8, epochs_before=2), Controller.of(CONFIG, has_perceptual=False)
    state = {name: value for name, value in seen(400).state().items() if not name.endswith("_before")}
    progress.restore(state)
    DataContinuity(DATA, progress, controller).restore({})

    assert progress == seen(400)
