"""Ranks with equal stacks are one group, whatever lines they are at and wherever the program lies."""

from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stack_groups import calls_of, group_stacks, sentence_of
from ddp.watchdog.stages import Stage


def stack(root: str, line: int, *calls: str) -> str:
    lines = [f'  File "{root}/{call}", line {line}, in {call.partition(".")[0]}\n    source()\n' for call in calls]
    library = f'  File "{root}/lib/python3.11/site-packages/torch/autograd/graph.py", line {line}, in _engine_run\n'
    return "".join(lines) + library


def status(rank: int, stage: Stage, text: str | None) -> RankStatus:
    return RankStatus(rank, f"gpu-{rank}", 100 + rank, "cpu", stage, 7, 3.0, 0.2, text, 0.5)


WAITING = [status(rank, Stage.ALL_REDUCE, stack(f"/home/u{rank}/env", 90 + rank, "backward.py")) for rank in (0, 1, 3)]


def test_ranks_that_wait_are_one_group_and_the_one_that_reads_is_another_and_comes_first() -> None:
    reading = status(2, Stage.DATA, stack("/opt/env", 5, "batches.py", "read_image.py"))

    groups = group_stacks([*WAITING, reading], {}, waiting=(0, 1, 3))

    assert [(group.ranks, group.stage) for group in groups] == [((2,), Stage.DATA), ((0, 1, 3), Stage.ALL_REDUCE)]
    assert sentence_of(groups) == (
        "By their stacks, rank 2 is in data (read_image, read_image.py); "
        "ranks 0, 1, 3 wait in all-reduce (backward, backward.py)."
    )
    assert groups[0].details() == {
        "ranks": [2], "stage": "data", "is_silent": False, "state": "", "where": "read_image, read_image.py",
    }  # fmt: skip


def test_ranks_at_the_same_stage_in_different_functions_are_two_groups() -> None:
    one, other = (status(rank, Stage.DATA, stack("/a", 1, f"call_{rank}.py")) for rank in (0, 1))

    assert [group.ranks for group in group_stacks([one, other], {}, ())] == [(0,), (1,)]


def test_a_silent_rank_is_told_by_what_the_kernel_says_and_not_by_its_old_stack() -> None:
    silent = status(3, Stage.ALL_REDUCE, WAITING[0].stack)

    groups = group_stacks([*WAITING[:2], silent], {3: "stopped by a signal"}, waiting=(0, 1, 3))

    assert groups[0].ranks == (3,)
    assert groups[0].sentence() == "rank 3 is stopped by a signal, last seen in all-reduce"


def test_without_a_stack_the_stage_tells_all_and_many_groups_are_counted() -> None:
    many = [status(rank, Stage.DATA, stack("/a", 1, f"call_{rank}.py")) for rank in range(9)]

    assert sentence_of(group_stacks([status(0, Stage.DATA, None)], {}, ())) == "By their stacks, rank 0 is in data."
    assert sentence_of(group_stacks(many, {}, ())).endswith("; 3 more groups are in the file.")
    assert sentence_of(()) == ""
    assert calls_of(None) == ()
