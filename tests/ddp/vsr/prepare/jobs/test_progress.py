"""Lines about how far a phase is."""

from ddp.vsr.prepare.jobs.progress import ProgressMeter


def test_a_log_gets_a_line_each_ten_seconds_with_share_and_time_left() -> None:
    lines, now = list[str](), 100.0
    meter = ProgressMeter(lines.append, clock=lambda: now)
    meter.begin("cutting", 2000, "samples", done=1000)
    for done in range(1010, 1400, 10):  # ten samples a second after those that were there
        now += 1
        meter.update(done)

    assert lines == [
        "cutting: 1,100 of 2,000 samples (55%), 0:01:30 left",
        "cutting: 1,200 of 2,000 samples (60%), 0:01:20 left",
        "cutting: 1,300 of 2,000 samples (65%), 0:01:10 left",
    ]


def test_a_terminal_gets_a_text_twice_a_second_and_no_lines() -> None:
    lines, texts, now = list[str](), list[str](), 0.0
    meter = ProgressMeter(lines.append, texts.append, clock=lambda: now)
    meter.begin("reading", 100, "MiB")
    for done in range(0, 101, 5):
        now += 0.25
        meter.update(done)

    assert lines == []
    assert texts[:2] == ["reading: 5 of 100 MiB (5%), 0:00:10 left", "reading: 15 of 100 MiB (15%), 0:00:06 left"]
    assert len(texts) == 10  # none at the end, which says a line of its own
