"""Every fault that trainings are put to, as one table: its name, what is done, and to which trainings it can happen.

After each fault it must hold that every record is whole and none is missing, on disk and in the store, that each
command has ended, once; and at the end that weights, moments, controller and records are those of a training to which
nothing happened, to the last bit. `tests/faults/test_faults.py` puts a few trainings to those that are `quick`,
`python -m bench.kills.faults` puts as many as fit into some hours to all of them.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.deeds import (
    AtCall,
    Deed,
    Kill,
    KillDuringStart,
    RunOutOfMemory,
    SetClock,
    Stop,
    can_limit_memory,
)
from tests.faults.injection import ALL_OPERATIONS, ENDLESS, Action, CallFault, Operation
from tests.faults.places import (
    DamageNewestState,
    DisturbServer,
    EmptyStore,
    FillDisk,
    LockStore,
    LoseStore,
    MoveCheckpoints,
    MoveRun,
    RestoreStore,
    SecondTrainer,
    can_mount,
)

HOUR = 3600.0
ALL = tuple(range(64))
EVERYTHING = Kill(launcher=True, ranks=ALL)
RESTART, ANOTHER_DIES = Kill(ranks=ALL), Kill(ranks=(1,))


@dataclass(frozen=True)
class Fault:
    """One row."""

    name: str
    deed: Deed
    quick: bool = False
    """Whether it is among those of every test run."""
    least_ranks: int = 1
    store: str = "any"
    """`sqlite` or `postgresql`, where it needs that one."""
    needs: str = ""
    """`mount` or `memory`, what only some machines allow."""

    def is_possible(self, ranks: int, store: str) -> bool:
        """Whether it can happen to a training with so many ranks and this store on this machine."""
        allowed = {"": True, "mount": can_mount(), "memory": can_limit_memory()}
        return ranks >= self.least_ranks and self.store in ("any", store) and allowed[self.needs]


@dataclass(frozen=True)
class Place:
    """A file that rank 0 writes: which calls it makes there, and what must be done first so that it makes them."""

    name: str
    pattern: str
    operations: tuple[Operation, ...]
    before: Deed | None = None
    least_ranks: int = 1
    store: str = "any"
    may_pass: int = 1


OPEN, WRITE, SYNC, RENAME, LINK, UNLINK, MKDIR, TRUNCATE = Operation
TEMPORARY = (OPEN, WRITE, SYNC)
PLACES = (
    Place("a record", "*/run/.tmp-Statistik_*", (*TEMPORARY, UNLINK)),
    Place("a record's name", "*/run/Statistik_*.json", (LINK,)),
    Place("the run directory", "*/run", (SYNC,), may_pass=3),
    Place("a state", "*/checkpoints/.tmp-step_*/state.pt", TEMPORARY),
    Place("a manifest", "*/checkpoints/.tmp-step_*/*manifest.json*", (*TEMPORARY, RENAME)),
    Place("a state's folder", "*/checkpoints/*step_*", (MKDIR, SYNC, RENAME), may_pass=2),
    Place("checkpoints", "*/checkpoints", (SYNC,), may_pass=3),
    Place("latest and best", "*/checkpoints/*t", (RENAME,)),
    Place("a new link", "*/checkpoints/.tmp-*t.*", (LINK, UNLINK)),
    Place("run.json", "*/run/*run.json*", (*TEMPORARY, RENAME)),
    Place("a preview", "*/previews/*", (*TEMPORARY, RENAME, MKDIR), may_pass=3),
    Place("the log", "*/training.log", (WRITE,), may_pass=5),
    Place("the store", "*/leitstand.db", (WRITE, SYNC), store="sqlite", before=EVERYTHING, may_pass=5),
    Place("the store's WAL", "*/leitstand.db-wal", (WRITE, SYNC), store="sqlite", may_pass=60),
    Place("the store's WAL at a start", "*/leitstand.db-*", (OPEN, WRITE, TRUNCATE), store="sqlite", before=RESTART),
    Place("config.json at a start", "*/run/*config.json*", (*TEMPORARY, RENAME), before=RESTART, may_pass=0),
    Place("the lock at a start", "*/run/.lock", (OPEN, WRITE), before=RESTART, may_pass=0),
    Place("anything at a start", "*/run/*", (ALL_OPERATIONS,), before=RESTART, may_pass=40),
    Place("a state that is left", "/dev/shm/leitstand-*", (MKDIR, *TEMPORARY, RENAME), ANOTHER_DIES, 2, may_pass=0),
)  # fmt: skip
"""Where rank 0 makes calls that change files, as a log of all of them shows (FAULTS_LOG of `shim.c`)."""

ERRORS = {"no room": errno.ENOSPC, "an I/O error": errno.EIO, "a read-only disk": errno.EROFS}


def at_places() -> Iterator[Fault]:
    """Every call on every place: the last of its process, or one that fails."""
    for place in PLACES:
        for operation in place.operations:
            name = f"{'call' if operation == ALL_OPERATIONS else operation.name} on {place.name}".lower()
            for way, action in (("killed before", Action.KILL), ("killed after", Action.KILL_AFTER)):
                yield _at(place, f"{way} {name}", CallFault(action, operation, place.pattern))
            if operation is WRITE:
                yield _at(place, f"killed within {name}", CallFault(Action.TEAR, operation, place.pattern))
            for what, number in ERRORS.items():
                yield _at(place, f"{what} at {name}", CallFault(Action.FAIL, operation, place.pattern, value=number))


QUICK_AT_PLACES = {
    "killed within write on a record", "killed after link on a record's name", "killed within write on a state",
    "killed before rename on a state's folder", "killed after rename on latest and best",
    "killed before rename on run.json", "killed within write on the store's wal",
    "killed before rename on config.json at a start", "killed before write on a state that is left",
    "no room at write on a record", "an i/o error at sync on a state", "an i/o error at write on the store's wal",
}  # fmt: skip


def _at(place: Place, name: str, fault: CallFault) -> Fault:
    name = name.lower()
    may_pass = place.may_pass if fault.operations in (WRITE, ALL_OPERATIONS) else min(place.may_pass, 3)
    deed = AtCall(fault, place.before, may_pass=may_pass)
    return Fault(name, deed, name in QUICK_AT_PLACES, place.least_ranks, place.store)


def _lasting(action: Action, operations: Operation, value: int, seconds: float, pattern: str = "*/run/*") -> AtCall:
    return AtCall(CallFault(action, operations, pattern, value=value, count=ENDLESS), seconds=seconds)


CHANGES = ALL_OPERATIONS & ~Operation.SYNC
OTHERS = (
    Fault("rank 0 killed", Kill(ranks=(0,))),
    Fault("rank 1 killed", Kill(ranks=(1,)), quick=True, least_ranks=2),
    Fault("all ranks killed", Kill(ranks=ALL)),
    Fault("launcher killed", Kill(launcher=True)),
    Fault("launcher and ranks killed", EVERYTHING),
    Fault("all killed during a start", KillDuringStart(), quick=True),
    Fault("a rank killed as it starts", AtCall(
        CallFault(Action.KILL, ALL_OPERATIONS, "*/run/*"), before=RESTART, may_pass=60)),
    Fault("rank 0 stopped", Stop(2.0, ranks=(0,))),
    Fault("rank 1 stopped", Stop(2.0, ranks=(1,)), least_ranks=2),
    Fault("everything stopped", Stop(2.0, everything=True), quick=True),
    Fault("rank 0 stopped at a write", AtCall(
        CallFault(Action.FREEZE, WRITE, "*/run/*"), seconds=2.0, may_pass=30)),
    Fault("rank 0 out of memory", RunOutOfMemory(0), needs="memory"),
    Fault("rank 1 out of memory", RunOutOfMemory(1), quick=True, least_ranks=2, needs="memory"),
    Fault("disk full", FillDisk(3.0), quick=True, needs="mount"),
    Fault("no inodes", FillDisk(3.0, inodes=True), quick=True, needs="mount"),
    Fault("disk read-only", _lasting(Action.FAIL, CHANGES, errno.EROFS, 3.0), quick=True),
    Fault("disk with I/O errors", _lasting(Action.FAIL, ALL_OPERATIONS, errno.EIO, 3.0)),
    Fault("slow fsync", _lasting(Action.WAIT, SYNC, 300, 3.0), quick=True),
    Fault("slow writes", _lasting(Action.WAIT, WRITE, 30, 3.0)),
    Fault("clock an hour ahead", SetClock(HOUR)),
    Fault("clock an hour behind", SetClock(-HOUR), quick=True),
    Fault("clock ten years behind", SetClock(-10 * 365 * 24 * HOUR)),
    Fault("newest state damaged", DamageNewestState("state.pt"), quick=True),
    Fault("newest state shortened", DamageNewestState("state.pt", shortened=True)),
    Fault("newest manifest damaged", DamageNewestState("manifest.json")),
    Fault("checkpoints moved away", MoveCheckpoints(), quick=True),
    Fault("run directory moved away", MoveRun(), store="sqlite"),
    Fault("a second trainer", SecondTrainer()),
    Fault("store locked", LockStore(3.0), quick=True, store="sqlite"),
    Fault("store deleted", LoseStore(), quick=True, store="sqlite"),
    Fault("store emptied", EmptyStore(), quick=True),
    Fault("store restored", RestoreStore(), quick=True, store="sqlite"),
    Fault("PostgreSQL restarted", DisturbServer("stop", 2.0), quick=True, store="postgresql"),
    Fault("PostgreSQL killed", DisturbServer("kill", 2.0), store="postgresql"),
    Fault("PostgreSQL frozen", DisturbServer("freeze", 8.0), quick=True, store="postgresql"),
)  # fmt: skip

FAULTS = (*OTHERS, *at_places())
FIRST_CALLS = 220
"""So many calls that change files does the first start of a run make before its first steps, or more."""
FIRST_START = tuple(
    CallFault(action, ALL_OPERATIONS, "*/run/*") for action in (Action.KILL, Action.KILL_AFTER, Action.FAIL)
)
"""What happens to the very first start, at any of these calls."""
