"""Does a room hold more and more? A small training under `leitstand up` for an hour, with all that people do to it.

    python -m bench.soak [--minutes 60] [--ranks-until 0.5] [--api-until 0.1] [--seed 0] [--folder DIR]
    python -m bench.soak --report DIR/samples.jsonl

Beside two ranks: a scrape every 5 s, six event streams that come and go, someone who opens the page and looks at all of
it, commands, one of them refused. The API is killed twice in the share --api-until of the time, a rank every
RANK_KILL_SECONDS in the share --ranks-until; what lives from then on is watched to the end. Every 10 s each process is
asked to collect its garbage, and its memory (PSS, its own alone, RSS), open files, threads and Python's blocks are
written to `samples.jsonl` of the folder. Printed is the longest life of each part: how it grew, from when on it
was level (at most LEVEL_MB_PER_HOUR to the end), its files and threads.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from bench.soak.crowd import Crowd
from bench.soak.report import table
from bench.soak.room import Room, room_in
from bench.soak.usage import append, look, read
from bench.steps.blocks import load_text
from service.client.client import Client
from service.errors import UserError

SAMPLE_SECONDS = 10.0
RANK_KILL_SECONDS = 300.0
API_KILLS = 2


def soak(room: Room, minutes: float, api_until: float, ranks_until: float, seed: int) -> str:
    """Keep the room busy for so long; returns what its visitors met."""
    began, total = time.monotonic(), 60 * minutes
    kills = [(total * api_until * (number + 1) / API_KILLS, "API") for number in range(API_KILLS)]
    rank_kills = int(total * ranks_until / RANK_KILL_SECONDS)
    kills += [((number + 1) * RANK_KILL_SECONDS, f"rank {number % 2}") for number in range(rank_kills)]
    kills.sort()
    crowd = Crowd(room.url, seed)
    with crowd.at_work():
        while (passed := time.monotonic() - began) < total:
            append(room.folder / "samples.jsonl", look(room.parts(), began, room.blocks))
            if kills and passed >= kills[0][0]:
                _, part = kills.pop(0)
                room.kill(part)
                say(f"{passed:7.0f} s  {part} killed; another is there. Step {_step(room)}")
            next_at = began + passed + SAMPLE_SECONDS
            room.wait_for(partial(_is_past, next_at), "the next sample")
    return f"{crowd.summary()}; step {_step(room)}"


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


def _step(room: Room) -> int | None:
    with suppress(UserError), Client(room.url) as client:
        step: int = client.state()["step_live"]
        return step
    return None


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Soak, or read what was soaked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--api-until", type=float, default=0.1)
    parser.add_argument("--ranks-until", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the room lives; kept")
    parser.add_argument("--report", type=Path, help="the samples of an earlier soak; nothing is run")
    options = parser.parse_args()
    if options.report:
        say(table(read(options.report)))
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    with room_in(folder) as room:
        room.wait_for(lambda: (_step(room) or 0) > 0, "the first step")
        met = soak(room, options.minutes, options.api_until, options.ranks_until, options.seed)
        code = room.end()
    say(f"{met}; ended with {code}; {load_text()}\n{table(read(folder / 'samples.jsonl'))}The samples are in {folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
