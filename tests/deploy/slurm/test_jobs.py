"""The job scripts on a real Slurm cluster: a job that was told to leave saves, is queued again, and loses nothing."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from bench.kills.inspection import RunInspector, differences, record_differences
from service.commands import Kind
from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError
from tests.ddp.harness.launching import settings, write_pair
from tests.deploy.slurm.cluster import JOB_SECONDS, Cluster, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(600)]
Eventually = Callable[..., None]
REPOSITORY = Path(__file__).resolve().parents[3]
OPTIONS = {
    "train.sbatch": ("--gpus=0",),
    "nodes.sbatch": ("--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=0"),
}
"""What this machine needs otherwise than the scripts say."""
MAX_STEPS, VAL_STEP_EVERY, PAUSE_AT = 60, 20, 30


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), eventually)
    cluster.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cluster.environment["OMP_NUM_THREADS"] = "1"
    try:
        if reason := cluster.start():
            pytest.skip(f"Slurm's daemons do not start here: {reason}")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patches")
    for index in range(8):
        write_pair(root / "Patches", f"train_{index}", 36, 36, seed=index)
    for index in range(2):
        write_pair(root / "Val", f"val_{index}", 36, 36, seed=100 + index)
    return root


class Run:
    """A training as a job."""

    def __init__(self, cluster: Cluster, patches: Path, root: Path, script: str, eventually: Eventually) -> None:
        values = settings(
            DATA_ROOT=root, DATASET_ROOT=patches, MAX_STEPS=MAX_STEPS, VAL_STEP_EVERY=VAL_STEP_EVERY,
            CHECKPOINT_EVERY=VAL_STEP_EVERY,
        )  # fmt: skip
        self.job = cluster.submit(REPOSITORY / "deploy/slurm" / script, *values, options=OPTIONS[script])
        self.inspector = RunInspector(root, VAL_STEP_EVERY)
        self.store = Store(root / "leitstand.db")
        self._eventually = eventually

    def row(self) -> RunRow | None:
        try:
            return self.store.runs.latest()
        except StoreUnavailableError:
            return None

    def wait_for(self, state: RunState) -> None:
        self._eventually(
            lambda: (row := self.row()) is not None and row.state is state, seconds=JOB_SECONDS,
            what=f"{state}; {self.job.output}",
        )  # fmt: skip

    def pause(self) -> None:
        """Let it make some steps, then stand still, so that it does not end before it is disturbed."""
        self.wait_for(RunState.RUNNING)
        self._submit(Kind.PAUSE, apply_at_step=PAUSE_AT)
        self.wait_for(RunState.PAUSED)

    def go_on(self) -> None:
        """Let it end; it was started again, and is paused as before."""
        self.job.wait_for(Restarts="1")
        self.job.limit_time(minutes=60)
        self.job.wait_for(JobState="RUNNING", Restarts="1")
        self._eventually(lambda: "Resuming at step" in self.job.output, seconds=JOB_SECONDS, what="the second start")
        self._submit(Kind.RESUME)
        self.job.wait_for(JobState="COMPLETED", Restarts="1")

    def _submit(self, kind: Kind, **options: Any) -> None:
        row = self.row()
        assert row is not None
        self.store.commands.submit(row.id, kind, {}, actor="tester", source="api", **options)


@pytest.fixture
def start(cluster: Cluster, patches: Path, tmp_path: Path, eventually: Eventually) -> Iterator[Callable[..., Run]]:
    with ExitStack() as stack:

        def start(script: str = "train.sbatch") -> Run:
            run = Run(cluster, patches, tmp_path / "run", script, eventually)
            stack.enter_context(closing(run.store))
            return run

        yield start


@pytest.fixture(scope="module")
def undisturbed(
    cluster: Cluster, patches: Path, tmp_path_factory: pytest.TempPathFactory, eventually: Eventually
) -> Iterator[RunInspector]:
    """A run that nobody disturbs."""
    run = Run(cluster, patches, tmp_path_factory.mktemp("undisturbed"), "train.sbatch", eventually)
    with closing(run.store):
        run.job.wait_for(JobState="COMPLETED")
        yield run.inspector


def check_same(run: RunInspector, undisturbed: RunInspector) -> None:
    """All records and the last state are those of the run that nobody disturbed, to the bit."""
    assert run.complaints() == []
    assert run.store_complaints() == []
    assert list(record_differences(run.records(), undisturbed.records())) == []
    mine, theirs = (which.state(MAX_STEPS)["stepper"] for which in (run, undisturbed))
    assert list(differences(mine, theirs)) == []


@pytest.mark.parametrize("script", OPTIONS)
def test_a_job_whose_time_ends_is_queued_again_and_goes_on(
    start: Callable[..., Run], undisturbed: RunInspector, script: str
) -> None:
    run = start(script)
    run.pause()
    run.job.limit_time(minutes=5)  # the scripts ask for a warning five minutes before
    run.go_on()

    check_same(run.inspector, undisturbed)


def test_a_job_that_gives_way_to_another_is_queued_again_and_goes_on(
    start: Callable[..., Run], cluster: Cluster, undisturbed: RunInspector, tmp_path: Path
) -> None:
    (tmp_path / "other.sh").write_text("#!/bin/sh\ntrue\n")
    run = start()
    run.pause()
    cluster.submit(tmp_path / "other.sh", options=("--partition=high", "--exclusive")).wait_for(JobState="COMPLETED")
    run.go_on()

    check_same(run.inspector, undisturbed)


def test_a_job_that_a_person_cancels_saves_and_is_not_queued_again(start: Callable[..., Run]) -> None:
    run = start()
    run.pause()
    run.job.cancel()
    run.job.wait_for(JobState="CANCELLED", Restarts="0")

    row = run.row()
    assert row is not None
    assert (row.state, row.step, run.inspector.newest_step()) == (RunState.STOPPED, PAUSE_AT, PAUSE_AT)
    assert run.inspector.complaints() == []


def test_both_scripts_end_alike(repository: Path) -> None:
    tails = {path.read_text().partition(" &\n")[2] for path in (repository / "deploy/slurm").glob("*.sbatch")}

    assert len(tails) == 1
