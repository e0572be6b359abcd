"""What schemathesis cannot know of this API, and the few of its findings that are meant to be so, each with the reason.

schemathesis loads this module in a process of its own: tests/api/harness/fuzzing/settings.toml names it.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any

import schemathesis
from hypothesis import strategies
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import IgnoredAuth, RejectedPositiveData, UnsupportedMethodResponse, UseAfterFree

from api.events.messages import KINDS
from api.http.pagination import cursor_text
from tests.api.harness.action_links import action_token
from tests.api.harness.example_run import PROVENANCE_SHA256, RUN_ID

TOKEN_IS_NEEDED = os.environ.get("TOKEN_IS_NEEDED") == "1"
LONGEST_WAIT_SECONDS = 0.1
THERE = {
    "/actions/{token}": {"token": action_token()},
    "/statistics/{name}": {"name": "Statistik_700.json"},
    "/previews/{step}/{name}": {"step": 700, "name": "bikes_0001.webp"},
    "/provenance/{sha256}": {"sha256": PROVENANCE_SHA256},
    "/ranks/{rank}/stack": {"rank": "1"},
    "/schema/{name}.json": {"name": "RecordList"},
    "/runs/{run}": {"run": RUN_ID},
}
"""What a made-up name does not hit."""
SIGNS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/webp": b"RIFF"}


@dataclass(frozen=True)
class Exclusion:
    """A kind of failure that is none where its message or the refusal's detail matches, or without `detail` always."""

    failure: type[Failure]
    detail: str
    reason: str

    def covers(self, failure: Failure, response: Any) -> bool:
        texts = (failure.message, _detail(response))
        return isinstance(failure, self.failure) and any(re.search(self.detail, text) for text in texts)


EXCLUSIONS = (
    Exclusion(ServerError, "^All [0-9]+ event streams are taken", "it opens more at once than are to be served"),
    Exclusion(IgnoredAuth, "got `429 Too Many Requests`", "of wrong tokens only 30 a minute are looked at"),
    Exclusion(
        UnsupportedMethodResponse,
        "^Unsupported method GET returned 200",
        "the address of a run leads to its page, with a slash at its end",
    ),
    Exclusion(UnsupportedMethodResponse, "^Send a token", "who shows no token is not told what there is"),
    Exclusion(
        RejectedPositiveData, "^This link is not one of this server's", "no schema knows which links were signed"
    ),
    Exclusion(RejectedPositiveData, "^This was asked before", "a link is used once"),
    Exclusion(UseAfterFree, "", "a command that was taken back stays to be read: the audit of a run is kept for ever"),
    *(
        Exclusion(RejectedPositiveData, detail, reason)
        for detail, reason in (
            ("must be the next_cursor of the page before", "no pattern tells a cursor from other text"),
            ("must be the Log-Cursor of an earlier answer", "as above"),
            ("^Last-Event-ID is '0'", "schemathesis makes this header up without regard to the pattern it is to match"),
            ("^The Idempotency-Key .* was used before", "no schema knows which keys were used"),
            ("^The settings are not those with the ETag", "no schema knows the present ETag"),
            ("^There is no checkpoint", "no schema knows which checkpoints there are"),
            ("^apply_at_step is [0-9]+, but the run is at step", "no schema knows the step of a run"),
            ("^apply_at_step is [0-9]+, but the run ends at MAX_STEPS", "no schema knows the last step of a run"),
            ("^MAX_STEPS is [0-9]+, but must be above the run's step", "no schema knows the step of a run"),
            ("^MIN_LR .* must not exceed MAX_LR", "no schema relates one setting to another"),
            ("^PLATEAU_SAFETY_THRESHOLD .* below PLATEAU_PATIENCE", "no schema relates one setting to another"),
            ("_WEIGHT is .*, but must (be 1|not exceed 1)", "no schema adds settings up"),
            ("^PERCEPTUAL_WEIGHT .* has no perceptual term", "no schema knows how a run was started"),
            ("_WEIGHT are all 0", "no schema adds settings up"),
        )
    ),
)


def _detail(response: Any) -> str:
    if "problem+json" not in response.headers.get("content-type", [""])[0]:
        return ""
    return str(json.loads(response.content)["detail"])


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """The contract says that a token may not be needed; where it is, all routes are held to it."""
    if TOKEN_IS_NEEDED:
        operations = [operation for methods in raw_schema["paths"].values() for operation in methods.values()]
        for operation in operations:
            operation["security"] = [option for option in operation["security"] if option] or [{}]


@schemathesis.hook
def filter_failure(_context: Any, failure: Failure, _case: Any, response: Any) -> bool:
    """Keep all failures but those that are meant to be."""
    return not any(exclusion.covers(failure, response) for exclusion in EXCLUSIONS)


@schemathesis.hook
def flatmap_path_parameters(context: Any, path_parameters: dict[str, Any]) -> strategies.SearchStrategy[dict[str, Any]]:
    """Ask for what is there in every other request."""
    return strategies.sampled_from([THERE.get(context.operation.path, path_parameters), path_parameters])


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Change what is valid so that it stays valid, and leads further than what was made up."""
    _shorten_wait(case)
    _take_new_key(case)
    _ask_for_state(case)


def _shorten_wait(case: Any) -> None:
    """A command for a later step would hold a minute of the test each time."""
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int | float) and not isinstance(wait, bool) and LONGEST_WAIT_SECONDS < wait <= 60:
        case.query["wait"] = LONGEST_WAIT_SECONDS


def _take_new_key(case: Any) -> None:
    """Made-up keys are much alike, and nearly all requests would be refused for a key that another one used."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!#-~][!-~]{0,200}", key):
        asked = repr((case.path, case.query, case.body))
        case.headers["Idempotency-Key"] = key + hashlib.sha256(asked.encode()).hexdigest()[:16]


def _ask_for_state(case: Any) -> None:
    """A stream has no end, but its first state comes at once, and then enough was seen."""
    kinds = (case.query or {}).get("kinds")
    if isinstance(kinds, str) and kinds and set(kinds.split(",")) <= {"", *KINDS}:
        case.query["kinds"] = f"state,{kinds}"


@schemathesis.deserializer("application/jsonl")
def _lines(_context: Any, response: Any) -> list[Any]:
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.deserializer("application/openmetrics-text")
def _metrics(_context: Any, response: Any) -> list[str]:
    return [family.name for family in text_string_to_metric_families(response.content.decode())]


@schemathesis.deserializer(*SIGNS)
def _picture(_context: Any, response: Any) -> str:
    media_type = response.headers["content-type"][0]
    assert response.status_code == 206 or response.content.startswith(SIGNS[media_type]), media_type
    return media_type


_POSITIONS = strategies.tuples(strategies.integers(0, 10**18 - 1), strategies.text("abc._0", max_size=20))
schemathesis.openapi.format("cursor", _POSITIONS.map(cursor_text))
