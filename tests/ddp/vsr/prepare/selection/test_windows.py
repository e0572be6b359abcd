"""Windows lie inside their scene, cuts inside the frame, and shares add up."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ddp.vsr.prepare.scenes import Scene, Survey
from ddp.vsr.prepare.selection.windows import PATCHES_PER_WINDOW, CutOut, training_windows, validation_windows
from ddp.vsr.prepare.sources import Source

SOURCE = Source("a", Path("a"))
SCENES = (Scene(SOURCE, 0, 0, 30), Scene(SOURCE, 1, 30, 4), Scene(SOURCE, 2, 34, 90), Scene(SOURCE, 3, 124, 5))
SURVEY = Survey(source=SOURCE, height=271, width=641, frame_count=129, frames_per_second=25.0, scenes=SCENES, damage="")
PATCH = CutOut(side="Patches", height=192, width=192, scale=3, n_frames=5, seed=0)
IMAGE = replace(PATCH, side="Val", height=240, width=360)


@pytest.mark.parametrize("count", [1, 7, 100, 400])
def test_training_windows_stay_inside_their_scene_and_frame(count: int) -> None:
    windows = training_windows(SCENES, [SURVEY], count, PATCH)

    assert len(windows) == count
    for window in windows:
        scene = window.scene
        assert scene.first_frame <= window.first_frame
        assert window.first_frame + 5 <= scene.first_frame + scene.frame_count
        for top, left in window.corners:
            assert (top % 3, left % 3) == (0, 0)
            assert top + window.height <= 270
            assert left + window.width <= 639


def test_scenes_share_training_windows_in_proportion_to_their_length() -> None:
    counts = Counter(window.scene.index for window in training_windows(SCENES, [SURVEY], 339, PATCH))
    assert counts == {0: 78, 2: 258, 3: 3}  # three for each of 26 + 86 + 1 places


def test_repetition_is_bounded_however_many_patches_are_asked_for() -> None:
    windows = training_windows([SCENES[3]], [SURVEY], 10_000, PATCH)
    assert len(windows) == PATCHES_PER_WINDOW


def test_validation_windows_are_spread_evenly_and_never_repeat_a_place_in_time() -> None:
    windows = validation_windows(SCENES, [SURVEY], 9, IMAGE)
    assert Counter(window.scene.index for window in windows) == {0: 4, 2: 4, 3: 1}
    assert len({window.first_frame for window in windows}) == 9

    everything = validation_windows([SCENES[0]], [SURVEY], 1000, IMAGE)
    assert [window.first_frame for window in everything] == list(range(26))


def test_a_frame_smaller_than_a_validation_image_is_taken_whole_down_to_the_scale() -> None:
    small = replace(SURVEY, height=100, width=200)
    (window,) = validation_windows([SCENES[0]], [small], 1, IMAGE)
    assert (window.height, window.width) == (99, 198)
    assert window.corners == ((0, 0),)


def test_the_seed_moves_the_cuts_and_nothing_else_does() -> None:
    again = training_windows(SCENES, [SURVEY], 50, PATCH)
    assert training_windows(SCENES, [SURVEY], 50, PATCH) == again
    assert training_windows(SCENES, [SURVEY], 50, replace(PATCH, seed=1)) != again
