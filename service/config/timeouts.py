"""Timeouts that must nest: each is derived from those within it, and settings that break the order are refused.

    a report < a hang is named <= STALL_SECONDS < a hung rank is ended < COLLECTIVE_TIMEOUT_SECONDS
    the last save + the last writes < torchrun kills < the launcher kills

Whoever waits on the right relies on what happens on the left: a rank that gives up a collective cannot be named any
more, and one that is killed while it saves has lost its last state.
"""

import math
from collections.abc import Mapping

from service.errors import SettingError

REPORT_SECONDS = 0.25
"""Time between two reports of a rank to the others, and between two looks at them."""
NAMING_DELAY_SECONDS = 3 * REPORT_SECONDS
"""What may pass between the end of a limit and the name: a report, a look at it, and some delay of either."""
NAMED_WITHIN_SECONDS = 3.0
P99_FACTOR = 8.0
"""A hang is named within so many times the 99th percentile of its stage, but not within less than the seconds above."""
ESCALATION_FACTOR = 2.0
"""A hung rank is ended after so many times the limit by which it was named, with STALL_ACTION=restart."""
ORDER_SECONDS = 10.0
"""How long rank 0 waits for a hung rank on another machine to be ended there, before it ends itself."""

TORCHRUN_KILL_SECONDS = 30.0
"""Time after which torchrun kills ranks that do not leave, unless its variable says otherwise."""
TORCHRUN_KILL_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
AFTER_SIGNAL_SECONDS = TORCHRUN_KILL_SECONDS / 3
"""Limit of LAST_SAVE_SECONDS after a signal."""
LAST_WRITES_SECONDS = TORCHRUN_KILL_SECONDS / 3
"""Limit of the last writes of records and to the store, after the last save."""
STATE_LOCK_SECONDS = TORCHRUN_KILL_SECONDS / 3
"""How long a rank waits for others to leave their states; torchrun kills it soon after."""
RESTART_PATIENCE_SECONDS = 2 * TORCHRUN_KILL_SECONDS
"""How long ranks that are started again wait for those before them to be gone."""


def learnt_limit_seconds(p99_seconds: float) -> float:
    """Return after how many seconds a stage with this 99th percentile (s) counts as hung, so that it is named in time.

    That is within max(`NAMED_WITHIN_SECONDS`, `P99_FACTOR` · p99), the delay of the name included.
    """
    return max(NAMED_WITHIN_SECONDS, P99_FACTOR * p99_seconds) - NAMING_DELAY_SECONDS


def torchrun_kill_seconds(environment: Mapping[str, str]) -> float:
    """Return after how many seconds torchrun kills ranks that do not leave. Raises `SettingError`."""
    text = environment.get(TORCHRUN_KILL_VARIABLE, "")
    try:
        seconds = float(text) if text else TORCHRUN_KILL_SECONDS
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise SettingError(f"{TORCHRUN_KILL_VARIABLE} is {text!r}, but must be a number of seconds.")
    return seconds


def launcher_grace_seconds(environment: Mapping[str, str]) -> float:
    """Return for how many seconds a launcher waits for torchrun, which ends its ranks. Raises `SettingError`."""
    return torchrun_kill_seconds(environment) + TORCHRUN_KILL_SECONDS


def check_launch_order(environment: Mapping[str, str]) -> None:
    """Raise `SettingError` if torchrun would kill ranks that still save after a signal."""
    allowed, needed = torchrun_kill_seconds(environment), AFTER_SIGNAL_SECONDS + LAST_WRITES_SECONDS
    if allowed <= needed:
        raise SettingError(
            f"{TORCHRUN_KILL_VARIABLE} is {allowed:g}, but must be above {needed:g}, the seconds in which a rank saves "
            f"its last state ({AFTER_SIGNAL_SECONDS:g}) and its last records ({LAST_WRITES_SECONDS:g}) after a signal."
        )


def check_hang_order(stall_seconds: float, stall_action: str, collective_timeout_seconds: float) -> None:
    """Raise `SettingError` if ranks would give up a collective before the hung one among them is named, or ended."""
    is_ended = stall_action == "restart"
    needed = stall_seconds * (ESCALATION_FACTOR if is_ended else 1)
    if needed < collective_timeout_seconds:
        return
    what = f"{ESCALATION_FACTOR:g} times STALL_SECONDS" if is_ended else "STALL_SECONDS"
    why = "the hung rank is ended (STALL_ACTION=restart)" if is_ended else "the hung rank is named"
    raise SettingError(
        f"COLLECTIVE_TIMEOUT_SECONDS is {collective_timeout_seconds:g}, but must be above {what}, and STALL_SECONDS is "
        f"{stall_seconds:g}: otherwise the ranks give up before {why}.",
        ["COLLECTIVE_TIMEOUT_SECONDS", "STALL_SECONDS"],
    )
