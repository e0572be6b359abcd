"""Whether a training that has ended is one that nothing ever happened to: its last state, records, commands, store."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from bench.kills.inspection import OF_ONE_START, differences, record_differences
from bench.kills.killed_training import VAL_STEP_EVERY, Training
from service.commands import CommandState

BEST = ("best_quality", "best_quality_ever", "best_step")
"""What a validation that somebody asked for may leave behind."""
SAME = ("progress", "stepper", "controller", "ledger", "bad_steps", "window")
"""Parts of a state that must be those of a training that was never killed."""
FINAL = frozenset(state.value for state in CommandState if state.is_final)


def final_complaints(training: Training, reference: Training) -> list[str]:
    """In what a training that has ended differs from the reference, and what is wrong with it; at best nothing."""
    return [
        *_state_differences(training, reference),
        *training.inspector.complaints(),
        *training.inspector.store_complaints(training.store()),
        *_record_differences(training, reference),
        *_command_complaints(training),
    ]


def _state_differences(training: Training, reference: Training) -> list[str]:
    state, expected = (run.inspector.state(training.options.max_steps) for run in (training, reference))
    mine, theirs = ({name: which[name] for name in SAME} for which in (state, expected))
    places = (place for place in differences(mine, theirs) if not place.split(":")[0].endswith(BEST))
    return [f"the last state differs in {place}" for place in places]


def _record_differences(training: Training, reference: Training) -> Iterator[str]:
    found = training.inspector.records()
    scheduled = set(range(VAL_STEP_EVERY, training.options.max_steps + 1, VAL_STEP_EVERY))
    records = {step: record for step, record in found.items() if step in scheduled}
    yield from record_differences(records, reference.inspector.records(), OF_ONE_START.union(BEST, {"trigger"}))
    yield from (f"step {step} has no record" for step in sorted(scheduled - found.keys()))


def _command_complaints(training: Training) -> Iterator[str]:
    """Commands that never ended, that ended twice, or whose validation was made twice."""
    with closing(training.store()) as store:
        run = store.runs.latest()
        ends: Counter[str] = Counter()
        for event in [] if run is None else store.events.find(run.id, 0, 1_000_000):
            if event.kind == "command" and event.details["state"] in FINAL:
                ends[event.details["id"]] += 1
    for command in training.commands():
        if not command.state.is_final:
            yield f"{command.kind} {command.id} never ended: {command.state}"
    yield from (f"command {command} ended {count} times" for command, count in ends.items() if count > 1)
    made = Counter(record["command_id"] for record in training.inspector.all_records() if record["command_id"])
    yield from (f"the validation of {command} was made {count} times" for command, count in made.items() if count > 1)
