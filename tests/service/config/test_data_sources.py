"""DATA_SOURCES as a person writes it."""

from pathlib import Path

import pytest

from service.config.data_sources import DataSource, data_sources, named_sets
from service.config.loader import load_config
from service.errors import SettingError

ROOT = Path("data/default")


def test_without_more_sources_there_is_the_one_of_dataset_root() -> None:
    assert data_sources(ROOT, "") == (DataSource("default", ROOT, 1),)


def test_weights_become_whole_numbers_without_a_common_factor() -> None:
    found = data_sources(ROOT, " /a/films:0.5, ~/b/films:2 ,x:y:1.25")

    assert [source.weight for source in found] == [4, 2, 8, 5]
    assert [source.name for source in found] == ["default", "films", "films-2", "x:y"]
    assert found[2].path == Path.home() / "b/films"


def test_dataset_root_has_another_weight_if_it_is_named() -> None:
    assert [source.weight for source in data_sources(ROOT, "data/default:3,other:6")] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other", r"DATA_SOURCES has 'other', but needs `path:weight` for each patch set"),
        ("other:", r"DATA_SOURCES has 'other:', but needs `path:weight`"),
        ("other:-1", r"DATA_SOURCES has 'other:-1', but needs"),
        ("other:nan", r"DATA_SOURCES has 'other:nan', but needs"),
        ("other:1e3", r"DATA_SOURCES has 'other:1e3', but needs"),
        ("a:1,,b:1", r"DATA_SOURCES has '', but needs"),
        ("other:0.0", r"DATA_SOURCES gives other the weight 0: leave it out"),
        ("a:1,a:2", r"DATA_SOURCES names a patch set twice"),
        ("a:0.33333", r"100000:33333 as whole numbers, which add up to 133333, but must not exceed 10000: round them"),
    ],
)
def test_wrong_weights_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_config(None, [f"DATA_SOURCES={text}"], {})


def test_sets_to_evaluate_have_the_names_given_or_those_of_their_folders() -> None:
    found = named_sets(["Vid4 = /data/vid4/GT", "/data/reds", " ~/other/reds ", ""])

    assert found == {
        "Vid4": Path("/data/vid4/GT"), "reds": Path("/data/reds"), "reds-2": Path.home() / "other/reds",
    }  # fmt: skip
    assert load_config(None, ["EVALUATION_SETS=a=/x,/y"], {}).config.evaluation_sets == "a=/x,/y"


@pytest.mark.parametrize(("text", "message"), [("a=x,a=y", "a is named twice"), ("a=", "a to evaluate has no path")])
def test_sets_to_evaluate_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_config(None, [f"EVALUATION_SETS={text}"], {})
