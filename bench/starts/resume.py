"""How soon a training makes its first step: of a fresh run, and of one that resumes at step 100,000, in turn.

    python -m bench.starts.resume [--starts 5]

Seconds from the start of the launcher until all of two ranks have made a step.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.kills.campaign import write_dataset
from bench.kills.counted import StepsBegun
from bench.kills.killed_training import children_of
from bench.steps.blocks import load_text
from bench.steps.loops import NEVER
from ddp.checkpoint.folder import CheckpointFolder, Reason
from service.run.directory import RunDirectory
from tests.ddp.harness.launching import settings, torchrun

RANKS, FAR_STEP = 2, 100_000


class Starts:
    """A run that can be started fresh, and one that stands at step 100,000."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dataset = write_dataset(folder / "patches")
        self._far_root = folder / "far"
        self._prepare()

    def _prepare(self) -> None:
        """A run left at step 2, its state then said to be of step 100,000."""
        StepsBegun(self._page("preparation"))
        environment = self._environment("preparation")
        subprocess.run(self._command(self._far_root, 2), env=environment, check=True, capture_output=True)
        folder = CheckpointFolder(RunDirectory(self._far_root).checkpoints)
        found = folder.newest_usable()
        assert found is not None
        state = found.state
        state["progress"].update(step=FAR_STEP, samples_seen=FAR_STEP * state["progress"]["samples_seen"] // 2)
        state["ledger"].update(first_step=FAR_STEP + 1, sent_first_step=FAR_STEP - 1)
        folder.save(FAR_STEP, state, reason=Reason.COMMAND, is_best=False)

    def seconds_fresh(self, number: int) -> float:
        """From the start of the launcher to the first step of a new run."""
        return self._seconds(self._folder / f"fresh-{number}", f"fresh-{number}", 1)

    def seconds_far(self, number: int) -> float:
        """From the start of the launcher to the first step after a resume at step 100,000."""
        return self._seconds(self._far_root, f"far-{number}", FAR_STEP + 1)

    def _seconds(self, root: Path, name: str, first_step: int) -> float:
        begun = StepsBegun(self._page(name))
        started_at = time.monotonic()
        with (self._folder / f"{name}.txt").open("w") as output:
            launcher = psutil.Popen(
                self._command(root, NEVER), env=self._environment(name), stdout=output, stderr=output
            )
        try:
            while min(begun.of(rank) for rank in range(RANKS)) <= first_step:  # the next one begun: this one is made
                assert launcher.poll() is None, "the training ended before its first step"
                time.sleep(0.002)
            return time.monotonic() - started_at
        finally:
            processes = [launcher, *children_of(launcher)]
            for process in processes:
                process.kill()
            psutil.wait_procs(processes)

    def _command(self, root: Path, max_steps: int) -> list[str]:
        return [
            *torchrun(RANKS, "-m", "ddp", "--resume"),
            *settings(
                DATASET_ROOT=self._dataset, DATA_ROOT=root, WORKLOAD="bench.kills.counted", PATCH_SIZE=8,
                MAX_STEPS=max_steps, LOG_EVERY=100, VAL_STEP_EVERY=NEVER, CHECKPOINT_EVERY=NEVER,
            ),
        ]  # fmt: skip

    def _page(self, name: str) -> Path:
        return self._folder / f"{name}.steps"

    def _environment(self, name: str) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_STEPS": str(self._page(name))}


def in_seconds(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}–{max(seconds):.2f})"


def main() -> None:
    """Fresh and resumed starts in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=5)
    count = parser.parse_args().starts
    with tempfile.TemporaryDirectory() as folder:
        starts = Starts(Path(folder))
        both = [(starts.seconds_fresh(number), starts.seconds_far(number)) for number in range(count)]
    fresh, far = zip(*both, strict=True)
    sys.stdout.write(
        f"{count} starts of two ranks each, in turn; {load_text()}\n"
        f"  fresh, first step after {in_seconds(fresh)}; resumed at step {FAR_STEP:,}, after {in_seconds(far)}\n"
    )


if __name__ == "__main__":
    main()
