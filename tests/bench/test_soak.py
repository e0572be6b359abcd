"""What is said of memory that was sampled for an hour."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.soak.report import level_from, longest_lives, medians, slope_per_hour, table
from bench.soak.room import CHECKOUT, HOOK
from bench.soak.usage import Sample, look

MB = 10**6
NOISE_MB = 0.3


def points(minutes: int, rise_mb_per_hour: float, until_minute: float) -> list[tuple[float, float]]:
    """Sizes that rise until a minute, and are then level but for noise; every 10 s."""
    chance = random.Random(5)
    return [
        (10.0 * n, 50 + rise_mb_per_hour * min(n / 6, until_minute) / 60 + chance.gauss(0, NOISE_MB))
        for n in range(6 * minutes)
    ]


def sample(seconds: float, part: str = "API", pid: int = 7, pss: float = 50 * MB) -> Sample:
    return Sample(seconds, part, pid, int(pss), int(pss), int(pss), 20, 12, 1000)


def test_a_steady_rise_is_measured_through_noise_and_jumps() -> None:
    rising = points(60, rise_mb_per_hour=9.0, until_minute=60)
    jumping = [(seconds, size + 40 * (number % 50 == 0)) for number, (seconds, size) in enumerate(rising)]

    assert slope_per_hour(jumping) == pytest.approx(9.0, abs=0.5)
    assert level_from(jumping) is None


def test_a_size_that_rises_at_first_is_level_from_the_moment_at_which_it_stops() -> None:
    assert level_from(points(60, rise_mb_per_hour=30.0, until_minute=20)) == pytest.approx(20 * 60, abs=301)
    assert level_from(points(60, rise_mb_per_hour=0.0, until_minute=0)) == 0


def test_each_sixth_has_its_median() -> None:
    assert medians([(float(n), float(n // 10)) for n in range(61)]) == pytest.approx([0, 1, 2, 3, 4, 5])


def test_of_processes_that_followed_each_other_the_one_that_lived_longest_is_reported() -> None:
    samples = [sample(10.0 * n, pid=1 if n < 100 else 2, pss=50 * MB + n) for n in range(300)]

    (life,) = longest_lives(samples)

    assert (life.pid, life.seconds) == (2, 1990)
    assert "| API | 33 |" in table(samples)
    assert "| rank 0 |" not in table([*samples, sample(0.0, "rank 0", 3), sample(60.0, "rank 0", 3)])


def test_a_process_collects_when_it_is_asked_and_is_left_alone_before_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    environment = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "BENCH_SOAK": str(tmp_path)}
    waits = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(waits, env=environment, **pipes) as willing,  # type: ignore[call-overload]  # a dict of pipes
        subprocess.Popen(waits, env={}, **pipes) as other,  # type: ignore[call-overload]  # as above
    ):
        for process in (willing, other):
            process.stdout.readline()
        parts = {"willing": psutil.Process(willing.pid), "other": psutil.Process(other.pid)}
        found = {each.part: each for each in look(parts, time.monotonic(), tmp_path)}
        for process in (willing, other):
            process.stdin.close()

    assert (found["willing"].blocks or 0) > 1000
    assert found["other"].blocks is None
    assert found["other"].pss > 0
