"""What a person sees of the work."""

from ddp.inference.upscale.progress import Progress


def test_a_line_says_how_far_how_fast_and_how_long_it_will_take() -> None:
    lines: list[str] = []
    now = [100.0]
    progress = Progress(1000, 400, lines.append, lambda: now[0])
    for _ in range(30):
        now[0] += 0.5
        progress.step()
    assert lines == ["420 of 1000 frames, 2 a second, 0:04:50 left"]


def test_the_end_is_not_said_twice() -> None:
    lines: list[str] = []
    now = [0.0]
    progress = Progress(1, 0, lines.append, lambda: now[0])
    now[0] = 60.0
    progress.step()
    assert lines == []
