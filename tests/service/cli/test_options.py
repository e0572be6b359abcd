"""What several commands share."""

import getpass
from pathlib import Path

import pytest

from service.cli import exit_code
from service.cli.options import login_name


def test_the_login_name_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    assert login_name() == getpass.getuser()


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
def test_a_user_id_without_a_name_is_unnamed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)

    assert login_name() == "unnamed"


def test_the_demonstration_and_a_file_of_settings_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text("")

    assert exit_code(["doctor", "--demo", "--config", str(tmp_path / "run.toml")]) == 2
    assert capsys.readouterr().err == (
        f"Error: --demo has settings of its own, and so has {tmp_path / 'run.toml'}: give one of the two.\n"
    )


def test_a_value_of_the_demonstration_is_not_told_with_a_path_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert exit_code(["pack", "--demo"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("Patches and Val. DATASET_ROOT comes from --demo.\n")
    assert "/" not in said.replace("data/demo", "")
