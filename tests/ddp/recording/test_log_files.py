"""The lines of the console and of `training.log`, whatever the names in them hold."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddp.distributed.environment import RankEnvironment
from ddp.recording.log_files import STEP_LINE, RetryingFileHandler, add_log_file, console_log, hide_step_lines


def test_a_name_forges_no_line_and_colours_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "training.log"
    root = logging.getLogger()
    level = root.level
    try:
        with console_log(RankEnvironment()) as listener:
            add_log_file(listener, path)
            logging.getLogger("ddp").warning("%s was left out", "a\n12:00:00 INFO forged\x1b[31m\u202e.png")
            try:
                (tmp_path / "b\nforged").joinpath(*"gone").read_bytes()
            except OSError:
                logging.getLogger("ddp").exception("It broke.")
        for handler in listener.handlers:
            handler.close()
    finally:
        root.setLevel(level)

    for text in (capsys.readouterr().out, path.read_text(encoding="utf-8")):
        first, second, *traceback = text.splitlines()
        assert first.endswith(r"a\n12:00:00 INFO forged\x1b[31m\u202e.png was left out")
        assert second.endswith("It broke.")
        assert traceback[0] == "    Traceback (most recent call last):"
        assert all(line.startswith("    ") for line in traceback)


def test_step_lines_can_be_kept_off_the_console_and_stay_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "training.log"
    root = logging.getLogger()
    level = root.level
    try:
        with console_log(RankEnvironment()) as listener:
            add_log_file(listener, path)
            hide_step_lines(listener)
            logging.getLogger("ddp").info("step 2/20", extra=STEP_LINE)
            logging.getLogger("ddp").info("Statistics saved")
        for handler in listener.handlers:
            handler.close()
    finally:
        root.setLevel(level)

    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()] == ["Statistics saved"]
    assert [line.partition("INFO ")[2] for line in path.read_text().splitlines()] == ["step 2/20", "Statistics saved"]


def test_a_log_that_is_moved_or_whose_folder_is_gone_goes_on_in_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run" / "training.log"
    path.parent.mkdir()
    handler = RetryingFileHandler(path)

    def log(text: str) -> None:
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, text, (), None))

    log("one")
    path.rename(path.with_name("training.log.1"))
    log("two")
    assert path.with_name("training.log.1").read_text() == "one\n"
    assert path.read_text() == "two\n"

    shutil.rmtree(path.parent)
    log("lost")
    log("lost too")
    assert capsys.readouterr().err.count("cannot be written") == 1
    path.parent.mkdir()
    log("three")
    handler.close()

    assert path.read_text() == "three\n"


ROOT = Path(__file__).parents[3]
LOGS = """
import logging, sys
from pathlib import Path
from ddp.distributed.environment import RankEnvironment
from ddp.recording.log_files import add_log_file, console_log
with console_log(RankEnvironment(rank=int(sys.argv[1]))) as listener:
    add_log_file(listener, Path(sys.argv[2]))
    for text in ("\U0001f4ca saved: gr\u00f6\u00dfe.png", "undecodable: \udcff.png", "then"):
        logging.getLogger("ddp").warning("%s", text)
"""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii:strict"}])
def test_a_console_of_another_encoding_gets_escapes_and_no_errors(
    tmp_path: Path, rank: int, variables: dict[str, str]
) -> None:
    file = tmp_path / "training.log"
    run = subprocess.run(
        [sys.executable, "-c", LOGS.encode("unicode_escape").decode().replace("\\n", "\n"), str(rank), str(file)],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    shown, other = (run.stdout, run.stderr) if rank == 0 else (run.stderr, run.stdout)
    assert [line.partition(" ")[2].removeprefix("rank 1: ") for line in shown.splitlines()] == [
        r"\U0001f4ca saved: gr\xf6\xdfe.png", r"undecodable: \xff.png", "then",
    ]  # fmt: skip
    assert other == ""
    lines = [line.partition(" WARNING ")[2] for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines == ["\U0001f4ca saved: größe.png", r"undecodable: \xff.png", "then"]


def test_a_pipe_in_the_place_of_the_log_holds_nothing_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "training.log"
    os.mkfifo(path)
    handler = RetryingFileHandler(path)

    handler.emit(logging.LogRecord("ddp", logging.INFO, "a.py", 1, "a line", (), None))
    handler.close()

    assert (
        "training.log cannot be written (it is a pipe that nobody reads); training goes on." in capsys.readouterr().err
    )
