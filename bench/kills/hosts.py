"""What becomes of a training on two machines when one of them, or the way between them, fails?

    python -m bench.kills.hosts [FAULT]... [--timeout 60]

Needs root, and makes two machines as network namespaces (`tests/deploy/hosts/machines.py`), one rank each, on gloo.
Each fault meets a new training under `--nnodes=1:2` after its first 40 steps. Printed is what is seen from then on,
with the seconds since: state and step of the run, new starts of the ranks and how many they are, and ends of torchrun.
`--timeout` is COLLECTIVE_TIMEOUT_SECONDS.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from service.commands import Kind
from tests.deploy.hosts.machines import Machine, machines, missing
from tests.deploy.hosts.training import HostsTraining, training_on, write_patches

FIRST_STEPS, MORE_STEPS = 40, 40
WATCH_SECONDS = 240.0
SHORT_CUT_SECONDS, AWAY_SECONDS = 10.0, 20.0
ENDLESS = {"MAX_STEPS": 1_000_000, "VAL_STEP_EVERY": 1_000_000, "CHECKPOINT_EVERY": 20, "LOG_EVERY": 2}


class Observation:
    """What is seen of a training after a fault, each change with its moment."""

    def __init__(self, training: HostsTraining) -> None:
        self._training = training
        self._begin = time.monotonic()
        self._seen: dict[str, object] = {}
        self.step_at_fault = training.step()
        self._starts = len(training.starts())

    def say(self, text: str) -> None:
        """Print a line with the seconds since the fault."""
        say(f"  {time.monotonic() - self._begin:6.1f} s  {text}")

    def is_beyond(self, ranks: int, steps: int = MORE_STEPS) -> bool:
        """Whether so many ranks have made so many steps more than at the fault."""
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

    def _note(self, what: str, now: str) -> None:
        if self._seen.get(what) != now:
            self._seen[what] = now
            self.say(f"{what}: {now}")


def cut_for_a_moment(training: HostsTraining, seen: Observation) -> None:
    """The cable of machine 2 out for some seconds."""
    training.machines[1].cut()
    seen.watch(lambda: False, seconds=SHORT_CUT_SECONDS)
    training.machines[1].mend()
    seen.say("the cable is back")
    seen.watch(lambda: seen.is_beyond(2))


def cut(training: HostsTraining, seen: Observation) -> None:
    """The cable of machine 2 out for good; then it is started again."""
    training.machines[1].cut()
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def slow(training: HostsTraining, seen: Observation) -> None:
    """256 kbit/s on the way from machine 2; what has to wait for more than 200 ms is lost."""
    training.machines[1].slow_down("tbf", "rate", "256kbit", "burst", "4kb", "latency", "200ms")
    seen.watch(lambda: seen.is_beyond(2))


def rank_killed(training: HostsTraining, seen: Observation) -> None:
    """The rank on machine 2 killed."""
    _kill(training.rank(training.machines[1]))
    seen.watch(lambda: seen.is_beyond(2) or seen.has_ended())


def launcher_killed(training: HostsTraining, seen: Observation) -> None:
    """torchrun on machine 2 killed; later it is started again."""
    _kill(psutil.Process(training.launchers[training.machines[1].name].pid))
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def machine_killed(training: HostsTraining, seen: Observation) -> None:
    """Machine 2 without power; later it is started again."""
    training.machines[1].kill()
    seen.watch(lambda: seen.is_beyond(1) or seen.has_ended())
    _come_back(training, seen)


def store_killed(training: HostsTraining, seen: Observation) -> None:
    """Machine 1, which keeps the store and rank 0, without power; later both are started again."""
    training.machines[0].kill()
    seen.watch(seen.has_ended)
    _come_back(training, seen)


FAULTS = {fault.__name__: fault for fault in (
    cut_for_a_moment, cut, slow, rank_killed, launcher_killed, machine_killed, store_killed,
)}  # fmt: skip


def _kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()


def _come_back(training: HostsTraining, seen: Observation) -> None:
    """Mend every cable and start torchrun wherever it has ended; watch until two ranks train."""
    for machine in training.machines:
        machine.mend()
    for machine in training.machines:
        if training.launchers[machine.name].poll() is not None:
            seen.say(f"{machine.name} is started again")
            training.start(machine)
    seen.watch(lambda: seen.is_beyond(2) or seen.has_ended())


def meet(fault: Callable[[HostsTraining, Observation], None], folder: Path, patches: Path, timeout: int) -> None:
    """Start a training, let the fault happen to it, and print what is seen."""
    say(f"{fault.__name__}: {fault.__doc__}")
    folder.mkdir()
    with machines(2, folder) as boxes, training_on(
        boxes, folder, patches, "1:2", COLLECTIVE_TIMEOUT_SECONDS=timeout, **ENDLESS
    ) as training:  # fmt: skip
        training.start_all()
        _await_ranks(training, boxes)
        fault(training, Observation(training))
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
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--timeout", type=int, default=60)
    options = parser.parse_args()
    if reason := missing():
        sys.exit(f"No machines can be made here: {reason}.")
    with tempfile.TemporaryDirectory() as folder:
        patches = write_patches(Path(folder, "patches"))
        for name in options.faults or FAULTS:
            meet(FAULTS[name], Path(folder, name), patches, options.timeout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
