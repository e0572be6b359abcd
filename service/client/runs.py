"""The part of the client that says which runs there are, what each is doing, and what people call it."""

from typing import Any, cast

from service.api_types import RunEntry, RunList
from service.client.artifacts import ArtifactClient
from service.client.connection import path_part

RUNS_PER_PAGE = 1000


class RunClient(ArtifactClient):
    """Lists and describes runs; `Client` adds commands and live events.

    Every method raises `ApiError`, `ServerUnreachableError`, `UntrustedServerError` or `BadAnswerError`.
    """

    def runs(self) -> RunList:
        """Return all runs of this server, most recently started first; pages are requested as needed."""
        pages = list(self._pages("/runs", {"limit": RUNS_PER_PAGE}, server_wide=True))
        return {
            "runs": [run for page in pages for run in page["runs"]],
            "skipped": pages[-1]["skipped"],
            "next_cursor": None,
        }

    def describe(self, **changes: str | None) -> RunEntry:
        """Change the run's `name`, `note` or both, None for none; returns its list entry.

        Raises `ApiError` (422: not allowed, 409: the store can only be read, 503: no run).
        """
        answer = self._send("PATCH", self._run_path(), body=changes, server_wide=True)
        return cast(RunEntry, self._json_object(answer))

    def state(self) -> dict[str, Any]:
        """Return the live snapshot: a record's keys, `run_state`, `age_seconds`... Raises `ApiError` (503: no run)."""
        return self._get_object("/state")

    def _run_path(self) -> str:
        """Return the path of the client's run on the server; that of the default run is asked for."""
        return self._prefix or f"/runs/{path_part(self.state()['run_id'])}"
