"""The state that the columns of a run's row give now, read from a directory's own store, which is never upgraded."""

import json
from collections.abc import Mapping
from typing import Any

from service.run.state import RunState, derive_state, effective_stall_seconds

STATE_COLUMNS = ("state", "heartbeat_at", "progress_at", "config", "live")


def state_of_row(row: Mapping[str, Any], now: float) -> str:
    """Return the state to report at the Unix time `now`, as the API would; what no version has written is kept.

    `row` has STATE_COLUMNS as SQLite gives them, None for those that an earlier version did not have. Raises
    `ValueError` if its settings are not JSON.
    """
    written, heartbeat_at = row["state"], row["heartbeat_at"]
    if written not in [*RunState] or heartbeat_at is None:
        return written or ""
    progress_at = heartbeat_at if row["progress_at"] is None else row["progress_at"]
    stall_seconds = effective_stall_seconds(json.loads(row["config"] or "{}"), json.loads(row["live"] or "{}"))
    return derive_state(RunState(written), now - heartbeat_at, now - progress_at, stall_seconds).value
