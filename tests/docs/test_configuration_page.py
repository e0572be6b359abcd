"""docs/configuration.md: its tables are those of the settings, its examples are accepted."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from ddp.checkpoint.network_shape import shape_of
from service.cli import leitstand
from service.config.docs import BEGIN, END, PAGE, groups, main, render_tables, updated
from service.config.live_settings import CHANGEABLE, PINNABLE
from service.config.loader import NOT_SETTINGS, load_config
from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig
from service.errors import UserError


def test_tables_are_up_to_date(repository: Path) -> None:
    page = (repository / "docs/configuration.md").read_text()

    assert updated(page) == page, "docs/configuration.md is stale: run `python -m service.config.docs`"


def test_page_that_is_regenerated_is_the_one_in_the_repository(repository: Path) -> None:
    assert repository / "docs/configuration.md" == PAGE


def test_every_setting_is_in_one_group_in_the_order_of_the_code() -> None:
    assert [name for names in groups().values() for name in names] == [item.name for item in fields(RunConfig)]


def test_groups_have_the_headings_of_the_code() -> None:
    assert list(groups())[:2] == ["Where", "Network"]
    assert groups()["Processes"] == [
        "device", "threads_per_rank", "fork_server", "collective_timeout_seconds", "stall_seconds",
        "stall_action",
    ]  # fmt: skip


def test_every_name_has_one_row() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|", render_tables(), re.MULTILINE)

    assert sorted(rows) == sorted([*(item.name.upper() for item in fields(RunConfig)), *RENAMED, *WITHOUT_EFFECT])


def test_a_row_shows_default_range_and_meaning() -> None:
    tables = render_tables()

    assert "| `SEED` | `0` | whole number, 0 to 2147483647 | seed of initialisation, order and augmentation |" in tables
    assert "| `DEVICE` | `auto` | `auto`, `cpu`, `cuda` | what to train on |" in tables
    assert "| `GRAD_CLIP` | `INITIAL_GRAD_CLIP` |" in tables


def test_only_what_stands_between_the_markers_changes() -> None:
    page = f"before\n{BEGIN}\nstale\n{END}\nafter\n"

    assert updated(page) == f"before\n{BEGIN}\n\n{render_tables()}\n{END}\nafter\n"


def test_a_page_without_markers_is_refused_with_a_sentence() -> None:
    with pytest.raises(UserError, match="put them around the tables"):
        updated("no markers here")


def test_the_command_mends_a_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\nstale\n{END}\n")

    assert main([str(page)]) == 0

    assert page.read_text() == updated(page.read_text())
    assert "stale" not in page.read_text()
    assert main([str(tmp_path / "absent.md")]) == 2
    assert "absent.md" in capsys.readouterr().err


def test_the_example_file_is_accepted(repository: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (repository / "docs/configuration.md").read_text(), re.DOTALL)
    path = tmp_path / "run.toml"
    path.write_text(example)

    config = load_config(path, ["DATA_ROOT=runs/short"], {"MAX_STEPS": "5000"}).config

    assert (config.max_steps, config.max_lr, config.data_root) == (5000, 2e-4, Path("runs/short"))


def test_variables_that_are_not_settings_are_all_named(repository: Path) -> None:
    page = (repository / "docs/configuration.md").read_text()

    assert set(re.findall(r"^\| `(LEITSTAND_[A-Z_]+)` \|", page, re.MULTILINE)) == NOT_SETTINGS


def test_settings_that_can_be_changed_are_all_named_and_no_other(repository: Path) -> None:
    page = (repository / "docs/configuration.md").read_text()
    _, _, rest = page.partition("### Which settings can be changed while running\n")
    named = re.findall(r"`([A-Z][A-Z0-9_]+)`", rest.partition("All others are read at the start only")[0])

    assert len(named) == len(set(named))
    assert set(named) == {*CHANGEABLE, *PINNABLE}


def test_settings_that_describe_the_network_are_those_that_a_checkpoint_is_compared_by(repository: Path) -> None:
    page = " ".join((repository / "docs/configuration.md").read_text().split())
    (named,) = re.findall(r"Those that describe the network \(([^)]+)\) must be those of the checkpoint", page)

    assert re.findall(r"`(\w+)`", named) == [name.upper() for name in shape_of(RunConfig(network="aligned"))]


def test_every_option_of_every_command_is_named(repository: Path) -> None:
    _, _, text = (repository / "docs/configuration.md").read_text().partition("## The command line\n")
    inner = [
        command
        for group in leitstand.commands.values()
        if isinstance(group, click.Group)
        for command in group.commands.values()
    ]
    options = {
        option
        for command in (leitstand, *leitstand.commands.values(), *inner)
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }

    assert {"--restarts", "--stack", "--at"} <= options
    assert options <= set(re.findall(r"--[a-z-]+[a-z]", text))
