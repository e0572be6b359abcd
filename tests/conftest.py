"""What every test may use: a place to find the repository, and a deadline instead of a sleep."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.harness.forked import StartPython, starting_python
from tests.postgres import postgres as postgres  # fixtures for every test
from tests.postgres import store_url as store_url

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORTED_BY_RANKS = ("ddp.training.rank", "ddp.recording.recorder")
STARTS_RANKS = ("tests.ddp.harness.launching", "tests.ddp.harness.training")
"""Who imports one of these, starts training processes."""


@pytest.fixture(scope="session", autouse=True)
def _hang_up_as_usual() -> None:
    """A suite in the background inherits that such a signal is ignored, and so would every program it starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the command line computes of records is kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEITSTAND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty store may be made, on either database."""
    if request.param == "sqlite":
        return tmp_path / "leitstand.db"
    url: str = request.getfixturevalue("store_url")
    return url


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name when it does not within the deadline."""

    def wait(condition: Callable[[], object], *, seconds: float = 30.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def start_python(is_forking: bool) -> Iterator[StartPython]:
    """Start a program of this interpreter, with the arguments of `subprocess.Popen`.

    It becomes the fork of a process that has imported already what ranks import, which costs a tenth of a new one.
    """
    with starting_python(*IMPORTED_BY_RANKS, is_forking=is_forking) as start:
        yield start


@pytest.fixture(scope="session")
def is_forking(request: pytest.FixtureRequest) -> bool:
    """Whether tests may take forks for new interpreters."""
    return not request.config.getoption("--no-fork")


def pytest_configure() -> None:
    """Give each worker one core: two threads of torch in each of two workers wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-fork", action="store_true", help="start new interpreters instead of forks")


SLOW_FOLDERS = ("tests/deploy/", "tests/e2e/", "tests/examples/", "tests/faults/", "/behaviour/")
SLOW_FIXTURES = {"browser", "launch", "postgres", "start_python", "train"}
SLOW_FILES = (
    "tests/api/alerts/test_last_alert.py", "tests/api/alerts/test_monitor.py", "tests/api/commands/test_wait.py",
    "tests/api/events/test_stream.py",
    "tests/ddp/adaptive/test_properties.py", "tests/ddp/distributed/test_eager.py",
    "tests/ddp/inference/export/test_export.py", "tests/ddp/inference/upscale/test_work.py",
    "tests/ddp/recording/test_log_files.py", "tests/ddp/step/test_out_of_memory.py",
    "tests/ddp/validation/test_tiles.py", "tests/ddp/vsr/prepare/test_clips.py",
    "tests/ddp/vsr/feeding/test_leakage.py", "tests/ddp/vsr/prepare/jobs/test_resuming.py",
    "tests/ddp/vsr/prepare/selection/test_near_duplicates.py",
    "tests/ddp/vsr/prepare/test_pipeline.py", "tests/ddp/vsr/test_perceptual.py", "tests/ddp/vsr/test_strips.py",
    "tests/ddp/watchdog/test_stopped_ranks.py", "tests/docs/test_contributing_recipes.py",
    "tests/docs/test_trackers_table.py",
    "tests/service/cli/test_start.py", "tests/service/cli/test_stats_push.py",
    "tests/service/cli/watch/test_command.py",
    "tests/service/launcher/test_programs.py", "tests/service/launcher/test_supervisor.py",
    "tests/service/launcher/test_supervisor_terminal.py", "tests/service/launcher/test_torchrun.py",
    "tests/service/store/test_fork.py",
)  # fmt: skip
"""What `make check` leaves out: whole processes, databases and browsers, and what takes longest of the rest."""


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is left out of `make check`."""
    path = item.nodeid.partition("::")[0]
    names = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        path in SLOW_FILES
        or any(folder in path for folder in SLOW_FOLDERS)
        or not SLOW_FIXTURES.isdisjoint(names)
        or "postgresql" in parameters.values()
    )


@cache
def starts_ranks(path: str) -> bool:
    """Whether tests of this file start training processes."""
    return path.startswith("tests/e2e/") or any(name in (REPOSITORY / path).read_text() for name in STARTS_RANKS)


class Sharing(LoadScopeScheduling):
    """One worker takes whole control rooms, one all other trainings: at most two of these run at a time."""

    def _split_scope(self, nodeid: str) -> str:
        """Tests with the same answer go to one worker: control rooms, other trainings, or those of one file."""
        path = nodeid.partition("::")[0]
        if path.startswith("tests/e2e/"):
            return "control rooms"
        # They mostly wait: for Slurm, for torchrun, for a fault to pass.
        if path.startswith(("tests/deploy/slurm/", "tests/deploy/hosts/", "tests/faults/")):
            return path
        return "trainings" if starts_ranks(path) else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sharing:
    config.option.loadscopereorder = False
    return Sharing(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark slow tests. Whoever takes what trains must begin with it: it takes longest."""
    assert all((REPOSITORY / path).is_file() for path in SLOW_FILES), "SLOW_FILES names a file that is gone"
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not starts_ranks(item.nodeid.partition("::")[0]))
