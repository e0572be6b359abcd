"""Collectives between real processes."""

from pathlib import Path

from tests.ddp.harness.launching import Launch, torchrun


def test_a_sum_over_ranks_respects_strides_which_gloo_does_not(launch: Launch, tmp_path: Path) -> None:
    process = launch(torchrun(2, "-m", "tests.ddp.harness.rank_programs.sum_views"))

    assert process.wait(timeout=120) == 0
    output = (tmp_path / "output.txt").read_text()
    for rank in (0, 1):
        assert f"SUMS {rank} [[0, 1], [4, 3], [8, 5], [12, 7]] [0, 2, 4, 6, 8, 10, 12, 14]" in output


def test_what_ranks_send_to_rank_0_arrives_by_rank_beside_other_collectives(launch: Launch, tmp_path: Path) -> None:
    process = launch(torchrun(3, "-m", "tests.ddp.harness.rank_programs.gather_generators"))

    assert process.wait(timeout=240) == 0, (tmp_path / "output.txt").read_text()
    output = (tmp_path / "output.txt").read_text()
    items = [{"rank": rank, "text": "x" * 10 * rank} for rank in range(3)]
    for rank in range(3):
        received = (3, items) if rank == 0 else (0, [])
        assert f"GATHERED {rank} {received[0]} {received[1]} An item of " in output
