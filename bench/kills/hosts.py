"""What becomes of a training on several machines when one of them, or the way between them, fails?

    python -m bench.kills.hosts [FAULT]... [--machines 2] [--with-api] [--timeout 60]

Needs root, and makes machines as network namespaces (`tests/deploy/hosts/machines.py`), one rank each, on gloo.
Each fault meets a new training under `--nnodes=1:N` after its first 40 steps. Printed is what is seen from then on,
with the seconds since: state and step of the run, new starts of the ranks and how many they are, and ends of torchrun.
With --with-api the run reports to PostgreSQL on one more machine, and the API is on another, which sees no folder of
it; what the API says of the run's state is printed too. `--timeout` is COLLECTIVE_TIMEOUT_SECONDS.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.kills.far_api import FarApi, far_api
from service.commands import Kind
from tests.deploy.hosts.machines import Machine, machines, missing
from tests.deploy.hosts.training import HostsTraining, training_on, write_patches

FIRST_STEPS, MORE_STEPS = 40, 40
WATCH_SECONDS = 240.0
SHORT_CUT_SECONDS, DATABASE_CUT_SECONDS = 10.0, 60.0
EVENT_SECONDS, API_LOOK_SECONDS = 8.0, 1.0
PRINTED_STEP = re.compile(r"step (\d+)/")
ENDLESS = {"MAX_STEPS": 1_000_000, "VAL_STEP_EVERY": 1_000_000, "CHECKPOINT_EVERY": 20, "LOG_EVERY": 2}


class Observation:
    """What is seen of a training after a fault, each change with its moment."""

    def __init__(self, training: HostsTraining, api: FarApi | None) -> None:
        self._training, self.api = training, api
        self._asked_at = float("-inf")
        self._begin = time.monotonic()
        self._seen: dict[str, object] = {}
        self.step_at_fault = training.step()
        self._starts = len(training.starts())

    def say(self, text: str) -> None:
        """Print a line with the seconds since the fault."""
        say(f"  {time.monotonic() - self._begin:6.1f} s  {text}")

    def is_beyond(self, missing_ranks: int = 0, steps: int = MORE_STEPS) -> bool:
        """Whether all ranks but so many have made so many steps more than at the fault."""
        ranks = len(self._training.machines) - missing_ranks
        starts = self._training.starts()
        is_new = self._training.step() >= max(self.step_at_fault, starts[-1][0]) + steps
        return is_new and starts[-1][1] == ranks

    def has_ended(self) -> bool:
        """Whether torchrun has ended on both machines."""
        return all(launcher.poll() is not None for launcher in self._training.launchers.values())

    def watch(self, until: Callable[[], bool], seconds: float = WATCH_SECONDS) -> bool:
        """Print what changes until a condition holds; False if it did not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            if until():
                self.say(f"step {self._training.step()}, {self._training.starts()[-1][1]} ranks at the last start")
                return True
            time.sleep(0.1)
        self.say(f"nothing more within {seconds:.0f} s; step {self._training.step()}")
        return False

    def _look(self) -> None:
        row = self._training.row()
        if row is not None:
            self._note("the run", f"{row.state.value}{f' ({row.reason})' if getattr(row, 'reason', None) else ''}")
        starts = self._training.starts()
        for step, ranks in starts[self._starts :]:
            self.say(f"{ranks} ranks start at step {step}")
        self._starts = len(starts)
        for name, launcher in self._training.launchers.items():
            self._note(f"torchrun on {name}", "runs" if launcher.poll() is None else f"ended with {launcher.poll()}")
        if self.api is not None and time.monotonic() >= self._asked_at + API_LOOK_SECONDS:
            self._asked_at = time.monotonic()
            self._note("the API says", self.api.state())

    def _note(self, what: str, now: str) -> None:
        if self._seen.get(what) != now:
            self._seen[what] = now
            self.say(f"{what}: {now}")


def cut_for_a_moment(training: HostsTraining, seen: Observation) -> None:
    """The cable of the last machine out for some seconds."""
    training.machines[-1].cut()
    seen.watch(lambda: False, seconds=SHORT_CUT_SECONDS)
    training.machines[-1].mend()
    seen.say("the cable is back")
    seen.watch(lambda: seen.is_beyond())


def cut(training: HostsTraining, seen: Observation) -> None:
    """The cable of the last machine out for good; then it is started again."""
    training.machines[-1].cut()
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def slow(training: HostsTraining, seen: Observation) -> None:
    """256 kbit/s on the way from the last machine; what has to wait for more than 200 ms is lost."""
    training.machines[-1].slow_down("tbf", "rate", "256kbit", "burst", "4kb", "latency", "200ms")
    seen.watch(lambda: seen.is_beyond())


def rank_killed(training: HostsTraining, seen: Observation) -> None:
    """The rank on the last machine killed."""
    _kill(training.rank(training.machines[-1]))
    seen.watch(lambda: seen.is_beyond() or seen.has_ended())


def launcher_killed(training: HostsTraining, seen: Observation) -> None:
    """torchrun on the last machine killed; later it is started again."""
    _kill(psutil.Process(training.launchers[training.machines[-1].name].pid))
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def machine_killed(training: HostsTraining, seen: Observation) -> None:
    """The last machine without power; later it is started again."""
    training.machines[-1].kill()
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def store_killed(training: HostsTraining, seen: Observation) -> None:
    """Machine 1, which keeps the store and rank 0, without power; later both are started again."""
    training.machines[0].kill()
    seen.watch(seen.has_ended)
    _come_back(training, seen)


def database_cut(training: HostsTraining, seen: Observation) -> None:
    """The machine of PostgreSQL cut off for a minute."""
    assert seen.api is not None
    seen.api.database.cut()
    before = step_printed(training)
    seen.watch(lambda: False, seconds=DATABASE_CUT_SECONDS)
    seen.say(f"{step_printed(training) - before} steps were made meanwhile; the cable is back")
    seen.api.database.mend()
    seen.watch(lambda: seen.is_beyond() and seen.api is not None and seen.api.state().startswith("running"))
    seen.say(f"a command by curl: {seen.api.command('validate').get('state')}")


def asked(training: HostsTraining, seen: Observation) -> None:
    """Nothing: commands and questions by curl on the API's machine, which sees no folder of the run."""
    assert seen.api is not None
    for name in ("validate", "checkpoint", "pause", "resume"):
        seen.say(f"POST /{name}: {seen.api.command(name).get('state')}")
    seen.say(f"GET /events: {sorted(set(seen.api.events(EVENT_SECONDS)))}, of step {training.step()}")
    for path, status, reason in seen.api.looks():
        seen.say(f"GET {path}: {status}, {reason}")
    seen.watch(seen.is_beyond)


FAULTS = {fault.__name__: fault for fault in (
    cut_for_a_moment, cut, slow, rank_killed, launcher_killed, machine_killed, store_killed,
)}  # fmt: skip
WITH_API = {fault.__name__: fault for fault in (asked, database_cut)}


def step_printed(training: HostsTraining) -> int:
    """The last step that rank 0 has printed, whatever the store knows."""
    found = PRINTED_STEP.findall(training.outputs()[training.machines[0].name])
    return int(found[-1]) if found else -1


def _kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()


def _come_back(training: HostsTraining, seen: Observation) -> None:
    """Mend every cable and start torchrun wherever it has ended; watch until all ranks train."""
    for machine in training.machines:
        machine.mend()
    for machine in training.machines:
        if training.launchers[machine.name].poll() is not None:
            seen.say(f"{machine.name} is started again")
            training.start(machine)
    seen.watch(lambda: seen.is_beyond() or seen.has_ended())


def meet(
    fault: Callable[[HostsTraining, Observation], None], folder: Path, patches: Path, options: argparse.Namespace
) -> None:
    """Start a training, let the fault happen to it, and print what is seen."""
    say(f"{fault.__name__}: {fault.__doc__}")
    folder.mkdir()
    count = options.machines
    with ExitStack() as stack:
        boxes = stack.enter_context(machines(count + 2 * options.with_api, folder))
        api = stack.enter_context(far_api(boxes[count], boxes[count + 1], folder)) if options.with_api else None
        training = stack.enter_context(
            training_on(
                boxes[:count], folder, patches, f"1:{count}", api.store if api else None,
                COLLECTIVE_TIMEOUT_SECONDS=options.timeout, **ENDLESS,
            )
        )  # fmt: skip
        training.environment.update({} if api is None else {"STORE_URL": api.store_url})
        training.start_all()
        _await_ranks(training, boxes[:count])
        fault(training, Observation(training, api))
        for name, output in training.outputs().items():
            said = [line for line in output.splitlines() if "Error" in line or "Rank" in line]
            say("\n    ".join([f"  {name} said:", *said[-3:]]) if said else f"  {name} reported no error")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _await_ranks(training: HostsTraining, boxes: list[Machine]) -> None:
    training.wait_for(lambda: training.step() >= FIRST_STEPS, "the first steps")
    ranks = training.starts()[-1][1]
    assert ranks == len(boxes), f"{ranks} of {len(boxes)} ranks train"
    training.submit(Kind.VALIDATE)


def main() -> int:
    """Let the named faults happen, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join([*FAULTS, *WITH_API]))
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--with-api", action="store_true")
    parser.add_argument("--timeout", type=int, default=60)
    options = parser.parse_args()
    if reason := missing():
        sys.exit(f"No machines can be made here: {reason}.")
    with tempfile.TemporaryDirectory() as folder:
        patches = write_patches(Path(folder, "patches"))
        known = {**(WITH_API if options.with_api else {}), **FAULTS}
        for name in options.faults or known:
            meet(known[name], Path(folder, name), patches, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
