"""The split between training and validation: what must hold for every mixture of sources."""

from pathlib import Path

import pytest

from ddp.vsr.prepare.scenes import Scene, Survey
from ddp.vsr.prepare.selection.split import Split, split_scenes
from ddp.vsr.prepare.sources import Source
from service.errors import UserError


def survey_of(name: str, *lengths: int, rate: float = 25.0) -> Survey:
    source = Source(name, Path(name))
    scenes = tuple(Scene(source, i, sum(lengths[:i]), length) for i, length in enumerate(lengths))
    return Survey(
        source=source,
        height=360,
        width=640,
        frame_count=sum(lengths),
        frames_per_second=rate,
        scenes=scenes,
        damage="",
    )


def split(*surveys: Survey, held_out: frozenset[str] = frozenset(), share: float = 0.1, seed: int = 0) -> Split:
    return split_scenes(surveys, held_out, share, n_frames=5, seed=seed)


@pytest.mark.parametrize("seed", range(20))
def test_no_scene_is_on_both_sides_and_none_is_lost(seed: int) -> None:
    surveys = [survey_of("a", 30, 40, 50, 3), survey_of("b", 60), survey_of("c", 25, 25)]
    found = split(*surveys, share=0.4, seed=seed)

    assert not set(found.train) & set(found.val)
    usable = {scene for survey in surveys for scene in survey.scenes if scene.frame_count >= 5}
    assert set(found.train) | set(found.val) == usable
    assert len(found.val) == 2  # 0.4 of six, rounded
    assert {scene.source.name for scene in found.train} == {"a", "b", "c"}


def test_held_out_sources_are_validated_on_whole_and_one_scene_of_another_joins_them() -> None:
    held = survey_of("city", 116, 74)
    found = split(survey_of("bikes", 30, 46, 61), survey_of("bunny", 132), held, held_out=frozenset({"city"}))

    assert found.val[:2] == held.scenes
    assert [scene.source.name for scene in found.val[2:]] == ["bikes"]
    assert len(found.train) == 3


def test_short_scenes_are_the_last_choice_for_validation() -> None:
    for seed in range(20):
        (chosen,) = split(survey_of("a", 8, 100, 9, 7, 6), survey_of("b", 10, 5), seed=seed).val
        assert chosen.frame_count == 100


def test_of_videos_with_one_scene_each_whole_videos_go_to_validation_but_never_all() -> None:
    found = split(*(survey_of(name, 50) for name in "abcd"), share=0.9)
    assert (len(found.train), len(found.val)) == (1, 3)


def test_the_choice_depends_on_the_seed_alone() -> None:
    surveys = [survey_of("a", *[50] * 30)]
    assert split(*surveys, seed=3) == split(*surveys, seed=3)
    assert len({split(*surveys, seed=seed).val for seed in range(5)}) > 1


def test_of_a_single_scene_the_tail_is_validated_on_after_two_unused_seconds() -> None:
    found = split(survey_of("only", 400, rate=30.0))
    (train,), (val,) = found.train, found.val

    assert (train.first_frame, train.frame_count) == (0, 260)
    assert (val.first_frame, val.frame_count) == (320, 80)
    assert "only is the only scene: its first 260 frames are trained on" in found.warnings[0]


def test_in_a_short_single_scene_one_window_of_gap_must_do() -> None:
    found = split(survey_of("only", 40))
    (train,), (val,) = found.train, found.val
    assert val.first_frame - (train.first_frame + train.frame_count) == 5
    assert val.first_frame + val.frame_count == 40


def test_too_little_for_two_sides_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match="only is the only scene and has 14 frames, too few"):
        split(survey_of("only", 14))
    with pytest.raises(UserError, match="no scene of at least 5 frames to train on"):
        split(survey_of("a", 4, 3), survey_of("city", 100), held_out=frozenset({"city"}))
