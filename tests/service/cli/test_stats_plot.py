"""`leitstand stats plot`: pictures of the records of directories."""

import re
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from service.cli import exit_code
from tests.service.harness.saved_records import save_original, save_record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in range(500, 5001, 500):
        save_record(tmp_path / "a", step, quality_ki_value=0.5 + step / 20_000, samples_seen=8 * step)
    return tmp_path / "a"


def texts(svg: Path) -> list[str]:
    """What is written in a picture: its text stays text."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg.read_text())


def plot(*arguments: str | Path) -> int:
    return exit_code(["stats", "plot", *map(str, arguments)])


def test_all_panels_of_a_run_are_drawn_with_phases_and_layers(run: Path, tmp_path: Path) -> None:
    assert plot(run, "--out", tmp_path / "all.svg") == 0

    written = texts(tmp_path / "all.svg")
    assert {"quality", "loss", "learning rate", "weight", "layer", "KI", "LR", "validation", "step"} <= set(written)
    assert {"warmup", "Warmup", "Backward 1", "Forward 1"} <= set(written)


def test_several_runs_are_overlaid_under_their_names_by_samples(run: Path, tmp_path: Path) -> None:
    save_record(tmp_path / "_b$x$", 500, samples_seen=1000)
    assert plot(run, tmp_path / "_b$x$", "--by", "samples", "--panels", "quality", "--out", tmp_path / "two.svg") == 0

    written = texts(tmp_path / "two.svg")
    assert {"a: KI", "a: LR", " _b$x$: KI", "training samples"} <= set(written)
    assert "loss" not in written


def test_the_axis_ends_where_the_records_end_and_a_legend_lies_above_its_curves(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    plot(run, "--out", tmp_path / "all.svg")

    (figure,) = figures
    figure.draw_without_rendering()
    panels = figure.axes[:5]
    assert [axes.get_xlim()[1] for axes in panels] == [5000.0] * 5
    legends = [(axes, legend) for axes in panels if (legend := axes.get_legend()) is not None]
    assert len(legends) == 4
    for axes, legend in legends:
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1


def test_a_short_training_is_drawn_over_minutes(tmp_path: Path) -> None:
    for step in (500, 1000):
        save_record(tmp_path / "short", step, iteration_duration=0.1)
        save_record(tmp_path / "long", 60 * step, iteration_duration=0.1)
    for name, unit in (("short", "minutes of training"), ("long", "hours of training")):
        assert plot(tmp_path / name, "--by", "time", "--panels", "quality", "--out", tmp_path / f"{name}.svg") == 0
        assert unit in texts(tmp_path / f"{name}.svg")


def test_the_same_records_give_the_same_picture_byte_for_byte(run: Path, tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        plot(run, "--out", tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_a_picture_for_a_paper_is_as_wide_as_a_column_at_300_dots_per_inch(run: Path, tmp_path: Path) -> None:
    assert plot(run, "--style", "paper", "--panels", "losses", "--out", tmp_path / "paper.png") == 0

    with Image.open(tmp_path / "paper.png") as picture:
        assert picture.size[0] == pytest.approx(3.4 * 300, abs=100)
        assert picture.info["dpi"][0] == pytest.approx(300, abs=1)


def test_a_bad_file_is_named_and_the_rest_is_drawn(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "Statistik_7.json").write_text("[")
    assert plot(run, "--out", tmp_path / "all.png") == 2

    assert "Statistik_7.json" in capsys.readouterr().err
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "a.gif"], "--out is a.gif, but must end with .png, .svg or .pdf."),
        (["--panels", "loss"], "--panels has 'loss', but a panel is one of quality, losses, lr, weights, activity."),
        (["--out", "no/such/folder/a.png"], "no/such/folder/a.png cannot be written (No such file or directory)"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    run: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot(run, *arguments) == 2

    assert sentence in capsys.readouterr().err


def test_a_run_without_samples_is_no_picture_over_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_original(tmp_path / "Old", 500)
    assert plot(tmp_path / "Old", "--by", "samples", "--out", tmp_path / "a.png") == 2

    assert capsys.readouterr().err.endswith("The records of Old have no samples_seen; draw over steps (`--by step`).\n")
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib_one_sentence_says_how_to_install_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot(run, "--out", tmp_path / "a.png") == 2

    assert capsys.readouterr().err == (
        'Error: Pictures need matplotlib; install it with `pip install "leitstand[plot]"`.\n'
    )
    assert list(tmp_path.glob("*a.png*")) == []
