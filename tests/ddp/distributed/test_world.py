"""Collectives between real processes."""

from pathlib import Path

from tests.ddp.harness.launching import Launch, torchrun


def test_a_sum_over_ranks_respects_strides_which_gloo_does_not(launch: Launch, tmp_path: Path) -> None:
    process = launch(torchrun(2, "-m", "tests.ddp.harness.rank_programs.sum_views"))

    assert process.wait(timeout=120) == 0
    output = (tmp_path / "output.txt").read_text()
    for rank in (0, 1):
        assert f"SUMS {rank} [[0, 1], [4, 3], [8, 5], [12, 7]] [0, 2, 4, 6, 8, 10, 12, 14]" in output
