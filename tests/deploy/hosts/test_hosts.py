"""A training on two machines of their own network: the same as on one, commanded, resumed, and hurt."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.kills.far_api import FarApi, far_api
from bench.kills.inspection import RunInspector, differences, record_differences
from service.commands import Kind
from service.run.state import RunState
from tests.ddp.harness.launching import settings, torchrun
from tests.deploy.hosts.machines import Machine, machines, missing
from tests.deploy.hosts.training import LEITSTAND, PATIENCE_SECONDS, HostsTraining, training_on, write_patches
from tests.harness.forked import StartPython

MISSING = missing()
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.timeout(600)]
MAX_STEPS, VAL_STEP_EVERY, PAUSE_AT = 40, 10, 24
VALUES = {"MAX_STEPS": MAX_STEPS, "VAL_STEP_EVERY": VAL_STEP_EVERY, "CHECKPOINT_EVERY": VAL_STEP_EVERY}
MakeTraining = Callable[..., HostsTraining]


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patches(tmp_path_factory.mktemp("patches"))


@pytest.fixture
def make_training(tmp_path: Path, patches: Path) -> Iterator[MakeTraining]:
    """Make a training for two machines, one rank each."""
    with ExitStack() as stack:

        def make(**values: object) -> HostsTraining:
            boxes = stack.enter_context(machines(2, tmp_path))
            return stack.enter_context(training_on(boxes, tmp_path, patches, "1:2", **{**VALUES, **values}))

        yield make


def wait_for_state(training: HostsTraining, state: RunState) -> None:
    training.wait_for(lambda: (row := training.row()) is not None and row.state is state, state)


def wait_for_start(training: HostsTraining, number: int) -> None:
    training.wait_for(lambda: len(training.starts()) == number, f"start {number} of the ranks")


@pytest.fixture(scope="module")
def undisturbed(
    patches: Path, tmp_path_factory: pytest.TempPathFactory, start_python: StartPython
) -> Iterator[RunInspector]:
    """The same two ranks on one machine, which nobody disturbs."""
    root = tmp_path_factory.mktemp("alone") / "run"
    command = [*torchrun(2, "-m", "ddp"), *settings(DATA_ROOT=root, DATASET_ROOT=patches, **VALUES)]
    with start_python(command) as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    return RunInspector(root, VAL_STEP_EVERY)


def test_two_machines_train_what_one_trains_though_commanded_hurt_and_started_again(
    make_training: MakeTraining, undisturbed: RunInspector
) -> None:
    training = make_training()
    training.start_all()
    first, second = training.machines
    training.wait_for(lambda: training.row() is not None, "the run")
    training.submit(Kind.PAUSE, apply_at_step=PAUSE_AT)
    wait_for_state(training, RunState.PAUSED)
    wanted = training.submit(Kind.VALIDATE)
    training.wait_for(lambda: training.is_ended(wanted), "the validation")

    rank = training.rank(second)
    assert rank is not None
    rank.kill()  # torchrun starts the ranks again, which learn from its store that they pause
    wait_for_start(training, 2)
    wait_for_state(training, RunState.PAUSED)

    training.launchers[second.name].terminate()  # all save, and leave
    assert training.end() == {first.name: 143, second.name: 143}
    training.start_all()
    wait_for_start(training, 3)
    training.submit(Kind.RESUME)
    assert training.end() == {first.name: 0, second.name: 0}

    assert training.starts() == [(0, 2), (PAUSE_AT, 2), (PAUSE_AT, 2)]  # the validation was the best: it is saved
    assert not training.root_of(second).exists()
    mine = RunInspector(training.root, VAL_STEP_EVERY)
    assert mine.complaints() == []
    assert mine.store_complaints() == []
    records = mine.records()
    assert records.pop(PAUSE_AT)["trigger"] == "manual"
    assert list(record_differences(records, undisturbed.records())) == []
    states = [each.state(MAX_STEPS)["stepper"] for each in (mine, undisturbed)]
    assert list(differences(*states)) == []


def test_a_machine_that_comes_later_is_taken_in_and_nothing_is_lost(make_training: MakeTraining) -> None:
    training = make_training(MAX_STEPS=1_000_000, VAL_STEP_EVERY=1_000_000)
    training.environment["PET_RDZV_CONF"] = "last_call_timeout=1"  # the first is not to wait for the second
    first, second = training.machines
    training.start(first)
    training.wait_for(lambda: training.step() >= VAL_STEP_EVERY, "the first steps")

    training.start(second)
    wait_for_start(training, 2)
    at_step, ranks = training.starts()[1]
    training.wait_for(lambda: training.step() > at_step, "steps of both")
    training.submit(Kind.STOP)

    assert training.end() == {first.name: 0, second.name: 0}
    assert (training.starts()[0], ranks) == ((0, 1), 2)
    assert f"Leaving after a signal at step {at_step}." in training.outputs()[first.name]


def test_an_api_whose_database_is_on_a_machine_that_is_cut_off_says_so_and_goes_on(tmp_path: Path) -> None:
    with machines(2, tmp_path) as (here, database), far_api(here, database, tmp_path) as api:
        api.store.open_run("r1", {})
        wait_for_answer(api, 200)

        database.cut()
        wait_for_answer(api, 503)
        assert api.curl("/livez")[0] == 200
        assert api.curl("/validate", "-X", "POST", seconds=30)[0] == 503

        database.mend()
        wait_for_answer(api, 200)
        status, answer = api.curl("/checkpoints")
        assert (status, json.loads(answer)["detail"]) == (
            404, "The run's directory is not on this machine, so its checkpoints cannot be shown.",
        )  # fmt: skip


def wait_for_answer(api: FarApi, status: int) -> None:
    """Ask for the run's state until the answer has this status."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := api.curl("/state", seconds=30)[0]) != status:
        assert time.monotonic() < deadline, f"the API answered {found}, not {status}"
        time.sleep(0.1)


def test_doctor_knows_an_endpoint_that_others_cannot_use_and_one_that_is_silent(tmp_path: Path) -> None:
    with machines(2, tmp_path) as (first, second):
        by_name = finding(first, first.name)
        by_address = finding(first, first.address)
        from_the_other = finding(second, first.address)

    assert by_name == "--rdzv-endpoint 'box1' is 127.0.1.1 on this machine, which leads the others to themselves: " + (
        "give this machine's address in their network instead, on all of them."
    )
    assert by_address.startswith(f"1:2 meet at {first.address}:29400; this one keeps the store")
    assert "gloo uses eth0" in by_address
    assert "does not answer" in from_the_other


def finding(machine: Machine, host: str) -> str:
    """What `leitstand doctor` says of the machines on one of them."""
    command = [*LEITSTAND, "doctor", "--json", "--set", "DEVICE=cpu", "--nnodes=1:2", f"--rdzv-endpoint={host}:29400"]
    answer = subprocess.run(machine.command(*command), capture_output=True, text=True, timeout=120, check=False)
    found: dict[str, str] = {each["check"]: each["finding"] for each in json.loads(answer.stdout)["checks"]}
    return found["machines"]
