"""The keyboard where it must stay silent; at a terminal it is tested in `test_supervisor_terminal.py`."""

import os
import signal
import termios
import tty
from collections.abc import Iterator

import pytest

from service.launcher.signals import SignalQueue
from service.launcher.terminal.keyboard import Keyboard


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both sides of a pseudo-terminal: ours to press keys, the program's to read them."""
    keys, side = os.openpty()
    yield keys, side
    for descriptor in (keys, side):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


@pytest.fixture
def in_foreground(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Takes any terminal for ours; the test may put another job into the foreground."""
    group = [os.getpgrp()]
    monkeypatch.setattr(os, "tcgetpgrp", lambda _descriptor: group[0])
    return group


def test_an_input_that_is_no_terminal_stays_silent() -> None:
    reading, writing = os.pipe()
    try:
        with Keyboard(reading) as keyboard:
            assert not keyboard.is_listening
    finally:
        os.close(reading)
        os.close(writing)


def test_a_terminal_that_is_not_ours_is_left_alone(terminal: tuple[int, int]) -> None:
    modes = termios.tcgetattr(terminal[1])

    with Keyboard(terminal[1]) as keyboard:
        assert not keyboard.is_listening
        assert termios.tcgetattr(terminal[1]) == modes


def test_keys_come_without_enter_in_lower_case_and_without_escape_sequences(
    terminal: tuple[int, int], in_foreground: list[int]
) -> None:
    keys, side = terminal

    with Keyboard(side) as keyboard:
        os.write(keys, b"vP\x1b[A\x1b[1;2C\x1bOH\x1bxq\xc3\xa9\xff")
        assert keyboard.read() == "vpqé"


@pytest.mark.parametrize("error", [None, RuntimeError("a defect")])
def test_the_terminal_is_given_back_as_it_was_found(
    terminal: tuple[int, int], in_foreground: list[int], error: Exception | None
) -> None:
    side = terminal[1]
    modes = termios.tcgetattr(side)

    try:
        with Keyboard(side):
            assert termios.tcgetattr(side) != modes
            if error:
                raise error
    except RuntimeError:
        assert error

    assert termios.tcgetattr(side) == modes


def test_in_the_background_neither_keys_nor_modes_are_touched(
    terminal: tuple[int, int], in_foreground: list[int]
) -> None:
    keys, side = terminal
    with Keyboard(side) as keyboard:
        in_foreground[0] += 1
        os.write(keys, b"v")
        assert keyboard.read() == ""
        assert not keyboard.is_listening
        shells = termios.tcgetattr(side)
    assert termios.tcgetattr(side) == shells

    in_foreground[0] -= 1
    tty.setraw(side)
    with Keyboard(side) as keyboard:
        in_foreground[0] += 1  # another job came while we listened
        changed = termios.tcgetattr(side)
    assert termios.tcgetattr(side) == changed


def test_a_terminal_that_is_gone_ends_the_listening_for_good(
    terminal: tuple[int, int], in_foreground: list[int]
) -> None:
    keys, side = terminal
    keyboard = Keyboard(side)
    keyboard.start_listening()
    os.close(keys)

    assert keyboard.read() == ""
    keyboard.start_listening()

    assert not keyboard.is_listening


def test_a_terminal_that_cannot_be_read_ends_the_listening(
    terminal: tuple[int, int], in_foreground: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int, _size: int) -> bytes:
        raise OSError(5, "Input/output error")

    with Keyboard(terminal[1]) as keyboard:
        monkeypatch.setattr(os, "read", failing)
        assert keyboard.read() == ""
        assert not keyboard.is_listening


def test_signals_wake_the_loop_and_are_taken_in_order() -> None:
    with SignalQueue() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.sleep(20) is False
        assert set(interrupts.drain()) == {signal.SIGTERM, signal.SIGINT}
        assert interrupts.drain() == []


def test_a_readable_descriptor_wakes_the_loop() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x")
        with SignalQueue() as interrupts:
            assert interrupts.sleep(20, reading) is True
            os.read(reading, 1)
            assert interrupts.sleep(0, reading) is False
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(("number", "is_noted"), [(signal.SIGHUP, False), (signal.SIGINT, True)])
def test_under_nohup_a_lost_terminal_is_ignored_but_an_interrupt_is_not(number: signal.Signals, is_noted: bool) -> None:
    earlier = signal.signal(number, signal.SIG_IGN)
    try:
        with SignalQueue() as interrupts:
            os.kill(os.getpid(), number)
            assert interrupts.drain() == ([number] if is_noted else [])
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, earlier)
