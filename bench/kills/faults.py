"""What does a training lose when files, processes, disks, stores or clocks fail under it? All faults, for some hours.

    python -m bench.kills.faults [--hours 2] [--ranks 1,2,3] [--faults WORD] [--new] [--seed 0] [--write] [--folder DIR]

The faults are those of `tests/faults/table.py`, in random order until the time is over: every one once before any comes
twice. Each meets one of a few tiny trainings, on one, two or three ranks, with a store of SQLite or PostgreSQL (where
the latter is installed), while validations and checkpoints are asked for. After each, records, links, commands and
store are looked at; each training must end equal to one that nothing happened to, to the last bit. --faults takes only
those with this word in their names, --new only those of which bench/RESULTS.md has no row yet. --write puts the table
there in place of the old one. Exit code 1 where anything was lost.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from bench.kills.campaign import say, write_dataset
from bench.kills.comparison import final_complaints
from bench.kills.killed_training import Options, Tally, Training
from bench.steps.blocks import load_text
from tests.faults.injection import FaultPage, missing
from tests.faults.ordeal import Ordeal
from tests.faults.places import small_disk
from tests.faults.table import FAULTS, FIRST_CALLS, FIRST_START, PLACES, Fault
from tests.postgres import PostgresService, postgres_service

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
HEADING = "### Every fault, at every write"
STEPS, CHECKPOINT_EVERY, RESTARTS = 600, 25, 1000
POSTGRES_SHARE = 0.2


@dataclass
class Row:
    """What became of one kind of fault."""

    tried: int = 0
    met: int = 0
    """How often it found what it acts on."""
    seconds: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class FaultCampaign:
    """Trainings that faults happen to."""

    def __init__(self, folder: Path, faults: Sequence[Fault], ranks: Sequence[int], seed: int) -> None:
        """Prepare the files that all trainings share."""
        self.rows: dict[str, Row] = {}
        self.by_ranks: Counter[int] = Counter()
        self.trainings = self.equal = 0
        self.complaints: list[str] = []
        self.tally = Tally()
        self._folder, self._ranks, self._chance = folder, ranks, random.Random(seed)
        self._faults, self._waiting = list(faults), list[Fault]()
        self._page, self._dataset = FaultPage(folder), write_dataset(folder / "patches")
        self._first_start = len(faults) == len(FAULTS)
        self._references: dict[int, Training] = {}
        self._server: PostgresService | None = None

    def run(self, until: float) -> None:
        """Put trainings to faults until this moment of the monotonic clock, and let the last one come to its end."""
        with ExitStack() as stack:
            with suppress(FileNotFoundError):
                self._server = stack.enter_context(postgres_service())
            for number in itertools.count(1):
                self._train(number, self._ranks[number % len(self._ranks)], until)
                if time.monotonic() >= until:
                    return

    def _train(self, number: int, ranks: int, until: float) -> None:
        store_url = None
        if self._server is not None and self._chance.random() < POSTGRES_SHARE:
            store_url = self._server.new_database()
        reference = self._reference(ranks)
        with self._ordeal(f"training-{number}", self._options(ranks, store_url)) as ordeal:
            ordeal.server = self._server if store_url else None
            where, before = f"training {number} ({ranks} ranks)", len(self.complaints)
            try:
                ordeal.advance(ordeal.is_held, "the first steps")
                self._settle_first_start(ordeal, where)
                for fault in self._due(ranks, "postgresql" if store_url else "sqlite"):
                    self._meet(fault, ordeal, where)
                    if not ordeal.has_room() or time.monotonic() >= until:
                        break
                ordeal.finish()
                self._complain(where, final_complaints(ordeal.training, reference))
            except (AssertionError, OSError, TimeoutError) as error:
                self._complain(where, [f"{type(error).__name__}: {error}"])
            self.trainings += 1
            is_equal = len(self.complaints) == before
            self.equal += is_equal
            say(f"{where} is finished: {'equal to the reference' if is_equal else 'NOT AS IT SHOULD BE'}")
            if not is_equal:
                evidence = self._folder / f"evidence-{number}"
                shutil.copytree(ordeal.training.folder, evidence, symlinks=True, ignore_dangling_symlinks=True)

    def _settle_first_start(self, ordeal: Ordeal, where: str) -> None:
        """See what became of the fault that met the first start, if it was told to."""
        if self._first_start:
            row, began = self.rows.setdefault("a call of the first start", Row()), time.monotonic()
            row.tried += 1
            row.met += self._page.fired
            self.by_ranks[ordeal.options.ranks] += self._page.fired
            row.complaints += (found := ordeal.settle())
            row.seconds.append(time.monotonic() - began)
            self._complain(f"{where}, the first start", found)

    def _due(self, ranks: int, store: str) -> Iterator[Fault]:
        """Yield faults that can happen to such a training, those first that have waited longest."""
        while True:
            fitting = [fault for fault in self._waiting if fault.is_possible(ranks, store)]
            if not fitting:
                again = self._chance.sample(self._faults, len(self._faults))
                fitting = [fault for fault in again if fault.is_possible(ranks, store)]
                self._waiting += fitting
            if not fitting:
                return
            self._waiting.remove(fitting[0])
            yield fitting[0]

    def _meet(self, fault: Fault, ordeal: Ordeal, where: str) -> None:
        row, began = self.rows.setdefault(fault.name, Row()), time.monotonic()
        row.tried += 1
        ordeal.await_ranks()
        ordeal.ask()
        try:
            has_met = fault.deed.happen(ordeal)
            found = ordeal.settle()
        except (AssertionError, OSError, TimeoutError):
            row.met, row.complaints = row.met + 1, [*row.complaints, f"{fault.name} did not come to its end"]
            raise
        finally:
            row.seconds.append(time.monotonic() - began)
        row.met += has_met
        row.complaints += found
        self.by_ranks[ordeal.options.ranks] += has_met
        say(f"{time.monotonic() - began:6.1f} s  {where}: {fault.name}{'' if has_met else ' (not met)'}")
        self._complain(f"{where}, {fault.name}", found)

    def _reference(self, ranks: int) -> Training:
        if ranks not in self._references:
            reference = Training(self._folder / f"reference-{ranks}", self._dataset, self._options(ranks), Tally())
            try:
                reference.finish()
            finally:
                reference.end()
            self._references[ranks] = reference
        return self._references[ranks]

    def _options(self, ranks: int, store_url: str | None = None) -> Options:
        environment = {**self._page.environment, "TORCHRUN_FORK_SERVER": "1"}
        return Options(
            ranks, restarts=RESTARTS, max_steps=STEPS, checkpoint_every=CHECKPOINT_EVERY, store_url=store_url,
            environment=environment,
        )  # fmt: skip

    @contextmanager
    def _ordeal(self, name: str, options: Options) -> Iterator[Ordeal]:
        self._page.set_clock(0)
        self._page.disarm()
        if self._first_start:
            self._page.arm(self._chance.choice(FIRST_START), self._chance.randrange(FIRST_CALLS))
        with small_disk(self._folder / name):
            ordeal = Ordeal(self._folder / name / "training", self._dataset, options, self._page, self._chance)
            try:
                yield ordeal
            finally:
                ordeal.end()

    def _complain(self, where: str, found: list[str]) -> None:
        for complaint in found:
            say(f"      !! {where}: {complaint}")
        self.complaints += [f"{where}: {complaint}" for complaint in found]


def groups(rows: dict[str, Row]) -> dict[str, list[Row]]:
    """The rows of the table that people read: calls are joined by their place."""
    found: dict[str, list[Row]] = {}
    for name, row in rows.items():
        found.setdefault(row_name(name), []).append(row)
    return found


def row_name(fault: str) -> str:
    """The name of the row that a fault belongs to."""
    place = next((place.name for place in PLACES if fault.endswith(f" on {place.name}".lower())), None)
    way = "killed at" if fault.startswith("killed") else "failing"
    return f"{way} a call on {place}" if place else fault


def new_faults(results: str) -> list[Fault]:
    """The faults of which a text of results has no row."""
    named = {line.split("|")[1].strip() for line in results.partition(HEADING)[2].splitlines() if line.startswith("| ")}
    return [fault for fault in FAULTS if row_name(fault.name) not in named]


def table(campaign: FaultCampaign, seconds: float, command: str) -> str:
    """The figures as a section of RESULTS.md."""
    by_ranks = ", ".join(f"{count} on {ranks}" for ranks, count in sorted(campaign.by_ranks.items()))
    kinds = sum(row.met > 0 for row in campaign.rows.values())
    lines = [
        f"{HEADING}, {date.today()}", "",
        f"`{command}`: {campaign.by_ranks.total()} faults of {kinds} kinds ({by_ranks} ranks) in {campaign.trainings} "
        f"trainings of {STEPS} steps, {seconds:.0f} s; {load_text()}. Equal to one that nothing happened to, to the "
        f"last bit: {campaign.equal} of {campaign.trainings}; complaints: {len(campaign.complaints)}. Seconds are from "
        "the fault until all ranks had made their next steps and all was written.", "",
        "| fault | met | seconds: median, most | lost or wrong |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for name, rows in sorted(groups(campaign.rows).items()):
        met, wrong = sum(row.met for row in rows), sum(len(row.complaints) for row in rows)
        passed = sorted(itertools.chain.from_iterable(row.seconds for row in rows))
        lines.append(f"| {name} | {met} | {passed[len(passed) // 2]:.1f}, {passed[-1]:.1f} | {wrong or 'nothing'} |")
    return "\n".join(lines) + "\n"


def write_section(path: Path, section: str) -> None:
    """Put a section into a file, in the place of the one with the same heading."""
    text = path.read_text(encoding="utf-8")
    begin = text.find(HEADING)
    if begin < 0:
        begin = end = text.index("## Two machines and what fails between them")
    else:
        end = text.index("\n## ", begin) + 1
    path.write_text(f"{text[:begin]}{section}\n{text[end:]}", encoding="utf-8")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--ranks", default="1,2,3")
    parser.add_argument("--faults", default="")
    parser.add_argument("--new", action="store_true", help="only those that RESULTS.md does not name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the trainings live; kept")
    given = parser.parse_args()
    if reason := missing():
        sys.exit(f"No faults can be injected here: {reason}.")
    folder, began = given.folder or Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    known = new_faults(RESULTS.read_text(encoding="utf-8")) if given.new else FAULTS
    faults = [fault for fault in known if given.faults.lower() in fault.name.lower()]
    campaign = FaultCampaign(folder, faults, [int(text) for text in given.ranks.split(",")], given.seed)
    campaign.run(began + given.hours * 3600)
    section = table(
        campaign, time.monotonic() - began, f"python -m bench.kills.faults {' '.join(sys.argv[1:])}".strip()
    )
    say(section)
    if given.write:
        write_section(RESULTS, section)
    if campaign.complaints:
        say("\n".join([*campaign.complaints, f"The evidence is in {folder}"]))
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
