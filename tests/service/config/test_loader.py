"""Where settings come from, which source wins, and what a wrong one says."""

import os
import re
from pathlib import Path

import pytest

from service.config.loader import NAMES, canonical_name, convert, load_config, plain_values
from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig
from service.errors import SettingError


def file_with(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


def test_without_any_source_all_values_are_defaults() -> None:
    loaded = load_config(None, (), {})

    assert loaded.config == RunConfig()
    assert loaded.origins == {}


def test_file_beats_default_environment_beats_file_and_set_beats_all(tmp_path: Path) -> None:
    file = file_with(tmp_path, "SCALE = 2\nN_FEATS = 8\nN_BLOCKS = 4\nBATCH_SIZE = 7\n")
    environment = {"N_FEATS": "9", "N_BLOCKS": "6", "LEITSTAND_N_BLOCKS": "8", "BATCH_SIZE": "5"}

    loaded = load_config(file, ["BATCH_SIZE=3"], environment)

    config = loaded.config
    assert (config.n_frames, config.scale, config.n_feats, config.n_blocks, config.batch_size) == (5, 2, 9, 8, 3)
    assert loaded.origins == {
        "SCALE": str(file), "N_FEATS": "environment", "N_BLOCKS": "environment", "BATCH_SIZE": "--set",
    }  # fmt: skip


def test_the_last_of_several_overrides_wins() -> None:
    assert load_config(None, ["SCALE=2", "scale=4"], {}).config.scale == 4


def test_names_are_case_insensitive_and_values_may_hold_equals_signs() -> None:
    config = load_config(None, [" video_Root = /a=b "], {}).config

    assert config.video_root == "/a=b"


def test_an_empty_variable_means_unset_and_an_empty_override_means_empty(tmp_path: Path) -> None:
    file = file_with(tmp_path, 'VIDEO_ROOT = "/films"\nAPI_TOKEN = "secret"\n')

    config = load_config(file, ["API_TOKEN="], {"VIDEO_ROOT": "", "LEITSTAND_SCALE": ""}).config

    assert (config.video_root, config.api_token, config.scale) == ("/films", "", 3)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_names_of_the_original_are_understood_in_every_source(tmp_path: Path, old: str, new: str) -> None:
    expected = {new.lower(): 1}

    for loaded in (
        load_config(file_with(tmp_path, f'{old} = "1"\n'), (), {}),
        load_config(None, (), {old: "1"}),
        load_config(None, (), {f"LEITSTAND_{old}": "1"}),
        load_config(None, [f"{old.lower()}=1"], {}),
    ):
        assert {new.lower(): getattr(loaded.config, new.lower())} == expected
        assert list(loaded.origins) == [new]


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_name_of_the_original_that_nothing_reads_is_an_error_with_the_reason(name: str) -> None:
    with pytest.raises(SettingError) as wrong:
        load_config(None, [f"{name}=1"], {})

    said = f"{name} has no effect here ({WITHOUT_EFFECT[name]}); remove it."
    assert str(wrong.value) == f"{said} {name} comes from --set."


@pytest.mark.parametrize(
    ("text", "environment", "overrides", "origin"),
    [
        ("BATCH_SIZE = 'x'", {}, [], "BATCH_SIZE comes from the file FILE."),
        ("batch_size = 0", {}, [], "BATCH_SIZE comes from the file FILE."),
        ("", {"BATCH_SIZE": "x"}, [], "BATCH_SIZE comes from the environment variable BATCH_SIZE."),
        ("", {"LEITSTAND_SEED": "-1"}, [], "SEED comes from the environment variable LEITSTAND_SEED."),
        ("BATCH_SIZE = 3", {"BATCH_SIZE": "4"}, ["BATCH_SIZE=0"], "BATCH_SIZE comes from --set."),
        ("", {"LEITSTAND_GRAD_CLIP": "x"}, [],
         "INITIAL_GRAD_CLIP comes from the environment variable LEITSTAND_GRAD_CLIP."),
        ("", {"LEITSTAND_SEEED": "1"}, [], "SEEED comes from the environment variable LEITSTAND_SEEED."),
        ("MAX_LR = 1e-5", {"MIN_LR": "1e-4"}, [],
         "MAX_LR comes from the file FILE, MIN_LR comes from the environment variable MIN_LR."),
        ("L1_WEIGHT = 0\nMS_WEIGHT = 0", {}, ["GRAD_WEIGHT=0"],
         "L1_WEIGHT, MS_WEIGHT come from the file FILE, GRAD_WEIGHT comes from --set."),
        ("[model]\nSCALE = 2", {}, [], "model comes from the file FILE."),
    ],
)  # fmt: skip
def test_an_error_ends_with_where_the_wrong_value_stands(
    tmp_path: Path, text: str, environment: dict[str, str], overrides: list[str], origin: str
) -> None:
    file = file_with(tmp_path, text)

    with pytest.raises(SettingError) as wrong:
        load_config(file, overrides, environment)
    assert re.search(rf"[.?] {re.escape(origin.replace('FILE', str(file)))}$", str(wrong.value))


def test_a_default_that_is_wrong_for_another_setting_needs_no_origin() -> None:
    with pytest.raises(SettingError) as wrong:
        load_config(None, ["PLATEAU_PATIENCE=900"], {})
    assert str(wrong.value).endswith("which is 900. PLATEAU_PATIENCE comes from --set.")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("VAL_STEPS_EVERY", "VAL_STEP_EVERY"), ("batchsize", "BATCH_SIZE"), ("DATAROOT", "DATA_ROOT")],
)
def test_an_unknown_name_names_the_nearest_right_one(key: str, nearest: str) -> None:
    with pytest.raises(SettingError, match=f"Unknown setting '{key}'") as wrong:
        canonical_name(key)

    assert str(wrong.value).endswith(f"Did you mean {nearest}?")


def test_a_name_that_resembles_none_points_to_the_documentation() -> None:
    with pytest.raises(SettingError, match=r"Unknown setting 'xyzzy'\. `leitstand settings --all` lists them\."):
        load_config(None, ["xyzzy=1"], {})


def test_an_unknown_variable_is_an_error_only_with_our_prefix() -> None:
    load_config(None, (), {"DATA_ROT": "x", "PATH": "/bin"})

    with pytest.raises(SettingError, match=r"Unknown setting 'DATA_ROT'\. Did you mean DATA_ROOT\?"):
        load_config(None, (), {"LEITSTAND_DATA_ROT": "x"})


def test_the_clients_variables_are_no_settings() -> None:
    environment = {"LEITSTAND_URL": "http://x", "LEITSTAND_TOKEN": "t", "LEITSTAND_INSECURE_HTTP": "1"}

    assert load_config(None, (), environment).config == RunConfig()


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("SCALE", "3", 3),
        ("SCALE", 3.0, 3),
        ("MAX_STEPS", "1e5", 100_000),
        ("MAX_STEPS", "+5", 5),
        ("SEED", "2147483647", 2**31 - 1),
        ("MAX_LR", "1e-4", 1e-4),
        ("MAX_LR", 1, 1.0),
        ("PIN_MEMORY", "Yes", True),
        ("PIN_MEMORY", "0", False),
        ("PIN_MEMORY", False, False),
        ("VIDEO_ROOT", "12", "12"),
        ("DATA_ROOT", "runs/a", Path("runs/a")),
        ("DATA_ROOT", Path("/a"), Path("/a")),
    ],
)
def test_values_are_converted_to_the_settings_type(name: str, raw: object, value: object) -> None:
    converted = convert(name, raw)

    assert converted == value
    assert type(converted) is type(value)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/eva")

    assert load_config(None, ["DATA_ROOT=~/runs"], {}).config.data_root == Path("/home/eva/runs")


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("SCALE", "three", "a whole number"),
        ("SCALE", "2.5", "a whole number"),
        ("SCALE", True, "a whole number"),
        ("SCALE", [3], "a whole number"),
        ("MAX_LR", "fast", "a number"),
        ("MAX_LR", {"a": 1}, "a number"),
        ("PIN_MEMORY", "perhaps", "true or false"),
        ("PIN_MEMORY", 1, "true or false"),
        ("VIDEO_ROOT", 12, "a text without NUL"),
        ("DATA_ROOT", 12, "a text without NUL"),
    ],
)
def test_a_value_of_the_wrong_type_is_quoted_with_what_it_must_be(name: str, raw: object, wanted: str) -> None:
    with pytest.raises(SettingError) as wrong:
        convert(name, raw)

    assert str(wrong.value) == f"{name} is {raw!r}, but must be {wanted}."


@pytest.mark.parametrize("raw", ["inf", "-inf", "nan", "1e999"])
def test_a_number_that_is_not_finite_is_never_accepted(raw: str) -> None:
    for name in ("MAX_STEPS", "MAX_LR"):
        with pytest.raises(SettingError, match=f"{name} is .*, but must be "):
            load_config(None, [f"{name}={raw}"], {})


def test_an_override_without_equals_sign_is_explained() -> None:
    with pytest.raises(SettingError, match=r"--set takes KEY=VALUE, but got 'SCALE 3'\."):
        load_config(None, ["SCALE 3"], {})


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"There is no settings file .*run\.toml; give an existing one with --config"
    ):
        load_config(tmp_path / "run.toml", (), {})


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read: it is no ordinary file"):
        load_config(tmp_path, (), {})


def test_a_byte_order_mark_before_the_settings_is_no_part_of_them(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xef\xbb\xbfSCALE = 2\r\n")

    assert load_config(file, (), {}).config.scale == 2


@pytest.mark.parametrize("content", [b"SCALE = \n", b"SCALE = 1\nSCALE = 2\n", b"\xef\xbb\xbf{}"])
def test_a_file_that_is_no_toml_is_explained(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(content)

    with pytest.raises(SettingError, match="is not valid TOML: "):
        load_config(file, (), {})


def test_a_section_in_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="training is a table"):
        load_config(file_with(tmp_path, "[training]\nSCALE = 3\n"), (), {})


def test_as_text_is_plain_and_hides_the_token() -> None:
    plain = plain_values(RunConfig(api_token="secret", data_root=Path("runs/a")))

    assert tuple(plain) == NAMES
    assert plain["API_TOKEN"] == "(set)"
    assert plain["DATA_ROOT"] == "runs/a"
    assert plain_values(RunConfig())["API_TOKEN"] == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A = " + b"[" * 5000 + b"]" * 5000, "a number in it is too long, or it is nested too deeply"),
        (b"SEED = " + b"9" * 5000, "a number in it is too long, or it is nested too deeply"),
        ("MAX_STEPS = 5".encode("utf-16"), "is not text in UTF-8: save it as UTF-8"),
        ("# größe\nMAX_STEPS = 5".encode("latin-1"), "is not text in UTF-8: save it as UTF-8"),
        (b"MAX_STEPS = 5\nmax_steps = 6", "has MAX_STEPS and max_steps, which are one setting; remove one"),
        (b"[train]\nMAX_STEPS = 5", "train is a table, but settings stand in none: remove [train]"),
        (b'DATA_ROOT = "a\\u0000b"', r"DATA_ROOT is 'a\x00b', but must be a text without NUL"),
        (b"SEED = " + b"9" * 400, "SEED is " + "9" * 200 + ", but must be a whole number"),
    ],
)
def test_an_odd_settings_file_is_told_in_one_sentence(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(content)

    with pytest.raises(SettingError) as error:
        load_config(file, [], {})

    assert reason in str(error.value)
    assert str(file) in str(error.value)


def test_a_settings_file_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "run.toml"
    os.mkfifo(pipe)

    with pytest.raises(SettingError, match="cannot be read: it is no ordinary file"):
        load_config(pipe, [], {})
