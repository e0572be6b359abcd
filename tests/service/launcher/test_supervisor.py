"""The supervisor with real child processes; the terminal and SIGKILL are in `test_supervisor_terminal.py`."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.commands import Kind
from service.errors import LAST_STATE_UNSAVED
from service.launcher import processes
from service.launcher import supervisor as supervisor_module
from service.launcher.processes import ApiRestarter, ChildProcess, Timing
from service.launcher.supervisor import LaunchPlan, Supervisor
from service.launcher.terminal.key_commands import KeyCommands
from service.run.state import RunState
from service.store.store import Store
from tests.service.harness.children import ENDS, LEAVES_IN_ORDER, STUBBORN_WITH_RANK, is_running, pid_of, program, until

QUICK = Timing(
    trainer_grace_seconds=20,
    api_grace_seconds=20,
    first_pause_seconds=0.05,
    tick_seconds=0.05,
    duplicate_signal_seconds=0.0,
)


class Lines(list[str]):
    """What the supervisor said."""

    def has(self, part: str) -> bool:
        return any(part in line for line in list(self))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def plan(tmp_path: Path) -> LaunchPlan:
    """Trainer and API that run until SIGTERM."""
    return LaunchPlan(
        trainer=program(LEAVES_IN_ORDER, tmp_path, "trainer"),
        api=program(LEAVES_IN_ORDER, tmp_path, "api", 0),
        preparation=None,
        store=tmp_path / "leitstand.db",
        log=tmp_path / "training.log",
        url="http://127.0.0.1:5050/",
        actor="eva",
        serve_on=False,
    )


def supervise(plan: LaunchPlan, lines: Lines, act: Callable[[], object] | None = None, timing: Timing = QUICK) -> int:
    """Run the supervisor on this thread while another one acts; nothing may be left behind."""
    acting = threading.Thread(target=lambda: ending_on_failure(act or (lambda: None)))
    silent, other_end = os.pipe()  # an input that is no terminal
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    acting.start()
    try:
        code = Supervisor(plan, lines.append, keyboard=silent, timing=timing).run()
    finally:
        acting.join(30)
        os.close(silent)
        os.close(other_end)
        for file in plan.store.parent.glob("*.pid"):
            assert not is_running(int(file.read_text())), f"{file.name} was left behind"
        assert before == {number: signal.getsignal(number) for number in before}
    return code


def ending_on_failure(act: Callable[[], object]) -> None:
    """Act; when that fails, end the supervisor, so that the test fails at once."""
    try:
        act()
    except BaseException:
        os.kill(os.getpid(), signal.SIGTERM)
        raise


def send_when(folder: Path, *names: str, number: signal.Signals = signal.SIGINT) -> Callable[[], None]:
    """Send ourselves a signal once these stand-ins run."""

    def act() -> None:
        for name in names:
            pid_of(folder, name)
        os.kill(os.getpid(), number)

    return act


def a_run(path: Path, state: RunState, step: int, started_at: float = 2e10) -> Store:
    """A store whose run was opened in the far future, so that it counts as this trainer's."""
    store = Store(path, create=True)
    store.open_run("run-1", {})
    store.runs.update("run-1", state=state.value, step=step, started_at=started_at)
    return store


def test_a_training_that_ends_well_ends_everything_with_exit_code_0(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    a_run(plan.store, RunState.FINISHED, 3000)

    assert supervise(replace(plan, trainer=program(ENDS, tmp_path, "trainer", 0)), lines) == 0

    assert lines == ["» Dashboard: http://127.0.0.1:5050/", "» The training has ended (finished at step 3000)."]


def test_after_a_training_that_ended_well_the_api_serves_on_until_somebody_leaves(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    def act() -> None:
        api = pid_of(tmp_path, "api")
        until(lambda: lines.has("Still serving"))
        alive.append(is_running(api))
        os.kill(os.getpid(), signal.SIGINT)

    alive: list[bool] = []
    with_end = replace(plan, trainer=program(ENDS, tmp_path, "trainer", 0), serve_on=True)

    assert supervise(with_end, lines, act) == 0
    assert alive == [True]
    assert lines.has("The training has ended.")


@pytest.mark.parametrize(
    ("trainer_code", "code", "sentence"),
    [(1, 1, "training.log"), (7, 1, "exit code 7"), (143, 143, "by a signal from elsewhere")],
)
def test_a_trainer_that_fails_ends_everything_and_says_where_to_look(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, trainer_code: int, code: int, sentence: str
) -> None:
    failing = replace(plan, trainer=program(ENDS, tmp_path, "trainer", trainer_code), serve_on=True)

    assert supervise(failing, lines) == code
    assert sentence in lines[-1]


def test_after_bad_input_the_trainers_own_sentence_is_enough(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    assert supervise(replace(plan, trainer=program(ENDS, tmp_path, "trainer", 2)), lines) == 2
    assert lines == ["» Dashboard: http://127.0.0.1:5050/"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 143), (signal.SIGUSR2, 143)],
)
def test_a_signal_ends_the_trainer_in_order_and_then_the_api(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    assert supervise(plan, lines, send_when(tmp_path, "trainer", "api", number=number)) == code
    assert int((tmp_path / "trainer.left").read_text()) < int((tmp_path / "api.left").read_text())
    assert lines[-2:] == [
        "» Leaving: the trainer finishes its step and saves; Ctrl-C again ends it at once.",
        "» The trainer has left; the same command continues it.",
    ]


def test_a_second_ctrl_c_ends_a_stubborn_trainer_and_its_ranks_at_once(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    def act() -> None:
        send_when(tmp_path, "trainer", "trainer-rank", "api")()
        until(lambda: lines.has("Leaving"))
        os.kill(os.getpid(), signal.SIGINT)

    stubborn = replace(plan, trainer=program(STUBBORN_WITH_RANK, tmp_path, "trainer"))

    assert supervise(stubborn, lines, act) == 137
    assert lines.has("ended before it had saved")


def test_one_ctrl_c_that_is_delivered_twice_counts_once(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    def act() -> None:
        send_when(tmp_path, "trainer", "api")()
        until(lambda: lines.has("Leaving"))
        os.kill(os.getpid(), signal.SIGINT)

    assert supervise(plan, lines, act, replace(QUICK, duplicate_signal_seconds=60)) == 130
    assert (tmp_path / "trainer.left").exists()
    assert lines.has("has left")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_of_a_scheduler_does_not_hurry(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, number: signal.Signals
) -> None:
    def act() -> None:
        send_when(tmp_path, "trainer", "api", number=number)()
        until(lambda: lines.has("Leaving"))
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervise(plan, lines, act) == 143
    assert lines.has("has left")


def test_a_stubborn_trainer_is_ended_when_its_time_is_over(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    stubborn = replace(plan, trainer=program(STUBBORN_WITH_RANK, tmp_path, "trainer"))

    code = supervise(
        stubborn, lines, send_when(tmp_path, "trainer", "trainer-rank"), replace(QUICK, trainer_grace_seconds=0.2)
    )

    assert code == 137
    assert lines.has("ended before it had saved")


def test_a_trainer_whose_ranks_were_killed_before_they_had_saved_has_not_left_in_order(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    killed = replace(plan, trainer=program(LEAVES_IN_ORDER, tmp_path, "trainer", 137))

    assert supervise(killed, lines, send_when(tmp_path, "trainer", number=signal.SIGTERM)) == 137
    assert lines.has("ended before it had saved")


def test_ranks_that_a_killed_launcher_left_behind_are_ended(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    def act() -> None:
        pid_of(tmp_path, "trainer-rank")
        os.kill(pid_of(tmp_path, "trainer"), signal.SIGKILL)

    stubborn = replace(plan, trainer=program(STUBBORN_WITH_RANK, tmp_path, "trainer"))

    assert supervise(stubborn, lines, act, replace(QUICK, trainer_grace_seconds=0.2)) == 1
    assert lines.has("its launcher was ended by SIGKILL): the reason is above; the same command continues it.")


def test_a_trainer_that_fails_while_leaving_is_a_failure(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    failing = replace(plan, trainer=program(LEAVES_IN_ORDER, tmp_path, "trainer", 5))

    assert supervise(failing, lines, send_when(tmp_path, "trainer")) == 1
    assert "failed while leaving: the reason is above and in" in lines[-1]


def test_a_rank_that_failed_while_leaving_is_known_from_the_store(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    a_run(plan.store, RunState.FAILED, 12)

    assert supervise(plan, lines, send_when(tmp_path, "trainer")) == 1
    assert "failed while leaving" in lines[-1]


def test_the_failure_of_an_earlier_trainer_is_not_this_ones(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    a_run(plan.store, RunState.FAILED, 12, started_at=1.0)

    assert supervise(plan, lines, send_when(tmp_path, "trainer")) == 130
    assert "has left" in lines[-1]


def test_a_training_that_ends_while_somebody_leaves_has_ended(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    ending = replace(plan, trainer=program(LEAVES_IN_ORDER, tmp_path, "trainer", 0))

    assert supervise(ending, lines, send_when(tmp_path, "trainer")) == 130
    assert lines[-1] == "» The training has ended."


def test_an_api_that_dies_is_started_again_and_the_trainer_goes_on(
    plan: LaunchPlan, lines: Lines, tmp_path: Path
) -> None:
    def act() -> None:
        trainer = pid_of(tmp_path, "trainer")
        first = pid_of(tmp_path, "api")
        os.kill(first, signal.SIGKILL)
        until(lambda: pid_of(tmp_path, "api") != first)
        assert is_running(trainer)
        survived.append(pid_of(tmp_path, "trainer") == trainer)
        os.kill(os.getpid(), signal.SIGTERM)

    survived: list[bool] = []

    assert supervise(plan, lines, act) == 143
    assert survived == [True]
    assert lines.has("The API was ended by SIGKILL; the training goes on. Starting it again in 0.05 s.")


def test_an_unexpected_error_leaves_nothing_behind(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(KeyCommands):
        def report(self) -> None:
            if (tmp_path / "trainer.pid").exists() and (tmp_path / "api.pid").exists():
                raise RuntimeError("a defect")

    monkeypatch.setattr(supervisor_module, "KeyCommands", Broken)

    with pytest.raises(RuntimeError, match="a defect"):
        supervise(plan, lines)

    assert (tmp_path / "trainer.left").exists()
    assert (tmp_path / "api.left").exists()


def test_a_terminal_that_is_gone_does_not_stop_anything(plan: LaunchPlan, tmp_path: Path) -> None:
    class Gone(Lines):
        def append(self, _line: str) -> None:
            raise OSError(5, "Input/output error")

    assert supervise(plan, Gone(), send_when(tmp_path, "trainer", number=signal.SIGHUP)) == 129
    assert (tmp_path / "trainer.left").exists()


def test_commands_of_others_are_not_reported(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    store = a_run(plan.store, RunState.RUNNING, 5)
    store.commands.submit("run-1", Kind.VALIDATE, {}, actor="x", source="api")

    assert supervise(plan, lines, send_when(tmp_path, "trainer")) == 130
    assert not lines.has("validate")  # somebody else's


def test_the_preparation_comes_first_and_the_training_follows(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    prepared = replace(
        plan,
        preparation=program(ENDS, tmp_path, "preparation", 0),
        trainer=program(ENDS, tmp_path, "trainer", 0),
    )

    assert supervise(prepared, lines) == 0
    assert lines.has("The training has ended")


@pytest.mark.parametrize(("failure", "code"), [(2, 2), (5, 1)])
def test_without_its_data_no_training_starts(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, failure: int, code: int
) -> None:
    unprepared = replace(plan, preparation=program(ENDS, tmp_path, "preparation", failure))

    assert supervise(unprepared, lines) == code
    assert lines == ["» The patch set could not be prepared; the lines above say why."]
    assert not (tmp_path / "trainer.pid").exists()


def test_ctrl_c_during_the_preparation_ends_it(plan: LaunchPlan, lines: Lines, tmp_path: Path) -> None:
    preparing = replace(plan, preparation=program(LEAVES_IN_ORDER, tmp_path, "preparation"))

    assert supervise(preparing, lines, send_when(tmp_path, "preparation")) == 130
    assert (tmp_path / "preparation.left").exists()
    assert not (tmp_path / "trainer.pid").exists()


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_the_api_is_started_at_growing_intervals_until_it_has_been_well(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    monkeypatch.setattr(processes, "time", clock)

    may_start = False

    def start() -> ChildProcess:
        if may_start:
            return ChildProcess(program(ENDS, tmp_path, "api", 3))
        raise OSError(11, "Resource temporarily unavailable")

    restarter = ApiRestarter(start, lines.append, Timing(max_pause_seconds=4))
    for _ in range(5):
        restarter.check()
        clock.now += 30
    may_start = True
    restarter.check()
    assert restarter.child is not None
    assert restarter.child.wait(20)
    clock.now += 61
    restarter.check()

    assert [line.rpartition("again in ")[2] for line in lines] == ["1 s.", "2 s.", "4 s.", "4 s.", "4 s.", "1 s."]
    assert "(Resource temporarily unavailable)" in lines[0]
    assert "ended with exit code 3;" in lines[-1]


@pytest.mark.parametrize(("codes", "says"), [([2], "does not start"), ([3, 2], "Starting it again in")])
def test_an_api_that_refuses_its_settings_at_its_first_start_is_not_started_again(
    codes: list[int], says: str, lines: Lines, tmp_path: Path
) -> None:
    left = list(codes)
    timing = Timing(first_pause_seconds=0)
    restarter = ApiRestarter(
        lambda: ChildProcess(program(ENDS, tmp_path, "api", left.pop(0))), lines.append, timing
    )  # fmt: skip
    for _ in codes:
        restarter.check()
        assert restarter.child is not None
        assert restarter.child.wait(20)
        restarter.check()

    assert says in lines[-1]
    assert len(lines) == len(codes)
    if codes == [2]:
        restarter.check()
        assert restarter.child is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_trainer_that_leaves_without_its_last_state_is_not_ready_to_be_continued(
    plan: LaunchPlan, lines: Lines, tmp_path: Path, number: signal.Signals
) -> None:
    unsaved = replace(plan, trainer=program(LEAVES_IN_ORDER, tmp_path, "trainer", LAST_STATE_UNSAVED))

    assert supervise(unsaved, lines, send_when(tmp_path, "trainer", "api", number=number)) == LAST_STATE_UNSAVED
    assert lines.has("its last state is not on disk")
