"""`bench/gpu.sh` runs through without a GPU, so that it works on the day there is one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import __main__ as gpu
from bench.gpu.context import SIZES, Row
from bench.gpu.part import PARTS
from bench.gpu.report import as_table, derived, read_rows
from bench.steps.original import parameter_tensors, reads_per_step

REPOSITORY = Path(__file__).resolve().parents[2]
FASTEST = "trainer/bfloat16, channels-last"
EACH_KIND = ["ceiling", FASTEST, "by hand", "original", "graph", "syncs", "data", "checkpoint", "ranks"]
"""All parts but the other ways of the trainer; that of torch.compile is tried in tests/ddp/step."""


@pytest.mark.timeout(1800)
def test_every_kind_of_part_runs_through_and_leaves_its_rows(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    command = [REPOSITORY / "bench/gpu.sh", "--device", "cpu", "--out", report, "--only", *EACH_KIND]

    done = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(re.findall(r"^\| [^|]+ \| ([^|]+) \| ([\d.e+-]+) ", report.read_text(), re.MULTILINE))
    assert {
        "arithmetic", "ceiling", "Leitstand, bfloat16, channels-last", "by hand, bfloat16, channels-last",
        "by hand, one CUDA graph", "data wait", "checkpoint: training held", "2 ranks, gloo: gradients",
        "share of the ceiling: Leitstand, bfloat16, channels-last", "fastest against the original's loop",
    } <= figures.keys()  # fmt: skip
    blocks = SIZES["small"].n_blocks
    counters = parameter_tensors(blocks)  # which AdamW reads on a CPU, where they lie on the host
    assert float(figures["Leitstand: reads"]) == counters
    assert float(figures["the original's loop: reads"]) == reads_per_step(blocks) + counters


def test_every_part_has_a_time_and_all_together_ten_minutes() -> None:
    assert gpu.SECONDS.keys() == PARTS.keys() - {"rank"}
    assert sum(gpu.SECONDS.values()) <= 600


def test_a_part_that_takes_too_long_is_ended_and_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "REHEARSAL_SECONDS", 0.01)

    assert gpu.run_part("ceiling", "cpu", "small", tmp_path / "rows") == "took longer than 0 s"


def test_a_part_that_fails_says_why_in_its_own_words(tmp_path: Path) -> None:
    reason = gpu.run_part("ceiling", "cpu", "small", tmp_path / "no folder" / "rows")

    assert reason is not None
    assert "No such file or directory" in reason


def test_shares_and_ratio_follow_from_the_rows() -> None:
    rows = [
        Row("ceiling", "arithmetic", 4.0, "TFLOP per image"),
        Row("ceiling", "ceiling", 500.0, "TFLOP/s"),
        Row("a", "Leitstand, float32", 20.0, "images/s"),
        Row("b", "Leitstand, bfloat16", 100.0, "images/s"),
        Row("original", "the original's loop", 10.0, "images/s"),
        Row("data", "with real files", 90.0, "images/s"),
        Row("rank", "8 ranks, nccl: Leitstand", 800.0, "images/s"),
    ]

    found = {row.what: row.value for row in derived(rows)}

    assert found["share of the ceiling: Leitstand, bfloat16"] == pytest.approx(80.0)
    assert found["fastest against the original's loop"] == pytest.approx(10.0)
    assert "share of the ceiling: 8 ranks, nccl: Leitstand" not in found  # that of one device is meant


def test_without_the_ceiling_or_the_original_nothing_is_made_up() -> None:
    assert derived([Row("a", "Leitstand, float32", 20.0, "images/s")]) == []
    assert derived([Row("original", "the original's loop", 10.0, "images/s")]) == []


def test_parts_that_wrote_nothing_leave_an_empty_table(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none") == []
    assert as_table([]).count("\n") == 2
