"""The table of all problem types (RFC 9457): status, title, what each means, and what to do about it.

`GET /problems/<slug>` explains them from this table; docs/api.md lists them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProblemType:
    """Type of a problem: HTTP status, title, meaning (half a sentence) and advice (one sentence)."""

    status: int
    title: str
    meaning: str
    advice: str


PROBLEMS: dict[str, ProblemType] = {
    "bad-request": ProblemType(
        400,
        "The request cannot be understood",
        "the request cannot be understood",
        "Send the request as RFC 9112 has it; `detail` names what could not be read.",
    ),
    "not-json": ProblemType(
        400,
        "The body is not JSON",
        "the body is not JSON",
        "Send a JSON object in which each member stands once, or no body.",
    ),
    "unauthorized": ProblemType(
        401,
        "A token is needed",
        "the token is missing, unknown, revoked or expired",
        "Send `Authorization: Bearer <token>`; `leitstand token list` on the server shows which tokens there are.",
    ),
    "insufficient-scope": ProblemType(
        403,
        "The token does not allow this",
        "the token may only read",
        "Use a token made with `leitstand token create NAME --scope control`.",
    ),
    "action-invalid": ProblemType(
        403,
        "The link is not one of this server's",
        "the link of a notification was altered, or another server made it",
        "Open the link as it was sent; links made before `ACTION_SECRET` was changed are void.",
    ),
    "foreign-origin": ProblemType(
        403,
        "Another web page may neither watch nor steer a training",
        "another web page sent the request",
        "Use the server's own page, or a program that sends no `Origin`.",
    ),
    "not-found": ProblemType(
        404,
        "There is no such thing here",
        "no such route, run, command, record or file",
        "Look at the list that `detail` names; `/docs` has all routes.",
    ),
    "method-not-allowed": ProblemType(
        405,
        "The route does not take this method",
        "the route does not take this method; `Allow` lists those it takes",
        "Use a method that `Allow` lists.",
    ),
    "request-timeout": ProblemType(
        408,
        "The request took too long to arrive",
        "the request did not arrive as a whole within 10 s",
        "Send the request again, over a faster connection.",
    ),
    "run-ended": ProblemType(
        409,
        "The run has ended",
        "the run is finished, stopped or failed",
        "Start the run again with `leitstand up`, then send the command.",
    ),
    "read-only-store": ProblemType(
        409,
        "The store can only be read",
        "this server may only read the run's store, so nothing in it can be changed",
        "Let the server write the store and its folder, or the role of `STORE_URL` its tables; then try again.",
    ),
    "command-begun": ProblemType(
        409,
        "The command is not queued any more",
        "the command has begun or ended, so it cannot be cancelled",
        "Look at what became of it; another command may undo it, as `resume` undoes `pause`.",
    ),
    "command-rejected": ProblemType(
        409,
        "The command was not carried out",
        "in a command, not as an answer: it was `rejected`, because the run's state ruled it out when it was due",
        "Read its `reason`; correct it and send it again.",
    ),
    "action-used": ProblemType(
        409,
        "The link was used before",
        "what the link of a notification asks for was asked for before",
        "Look at `/commands`; use the dashboard or `leitstand pause` to ask again.",
    ),
    "action-expired": ProblemType(
        410,
        "The link is too old",
        "the link of a notification is older than ten minutes",
        "Use the dashboard, `leitstand pause` or `leitstand stop`.",
    ),
    "precondition-failed": ProblemType(
        412,
        "It has changed meanwhile",
        "it is not what `If-Match` or `If-Unmodified-Since` expects; fetch it again",
        "Fetch it again, decide again, and send the new `ETag`.",
    ),
    "body-too-large": ProblemType(
        413,
        "The body is too large",
        "the body exceeds 64 KiB",
        "Send a smaller body: every command fits many times.",
    ),
    "uri-too-long": ProblemType(
        414,
        "The request line is too long",
        "the request line exceeds 4094 bytes",
        "Ask for less at a time: fewer names, fewer runs.",
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body must be JSON",
        "the body is not declared as JSON",
        "Send `Content-Type: application/json`.",
    ),
    "range-not-satisfiable": ProblemType(
        416,
        "The file has no such range",
        "the file is shorter than the range asked for",
        "Ask for a range within the length in `Content-Range`, or for the whole file.",
    ),
    "wrong-host": ProblemType(
        421,
        "The Host header names another server",
        "the Host header names another server",
        "Ask under a name in `API_HOSTS`, or add the name to it; without a token only loopback names are served.",
    ),
    "invalid-argument": ProblemType(
        422,
        "An argument is not allowed",
        "an argument, name, number, cursor or header is not allowed",
        "Correct what `errors` lists, every wrong value with what is allowed.",
    ),
    "key-reused": ProblemType(
        422,
        "The Idempotency-Key was used for another request",
        "the `Idempotency-Key` was used for another request",
        "Take a new key for each command, and the old one only to repeat the very same request.",
    ),
    "too-many-requests": ProblemType(
        429,
        "Too many requests",
        "more than the limit; `Retry-After` says when to try again",
        "Wait as long as `Retry-After` says and ask less often, or raise the limit (`API_COMMANDS_PER_MINUTE`, …).",
    ),
    "head-too-large": ProblemType(
        431,
        "The request's head is too large",
        "the request's head exceeds 64 KiB, a header 8190 bytes, or there are more than 64",
        "Send fewer or shorter headers.",
    ),
    "internal-error": ProblemType(
        500,
        "The server met a defect",
        "a defect of the server; its log holds the details",
        "Look at the server's log, and report what it says.",
    ),
    "command-failed": ProblemType(
        500,
        "The command failed",
        "in a command, not as an answer: it began, and `failed`",
        "Read its `reason` and `training.log`; send it again once that is mended.",
    ),
    "no-server": ProblemType(
        502,
        "The control room does not answer",
        "from nginx only: the API behind it does not answer",
        "Look whether the API runs; try again as `Retry-After` says.",
    ),
    "no-run": ProblemType(
        503,
        "There is no run yet",
        "no run was started in `DATA_ROOT` yet",
        "Start one with `leitstand up`.",
    ),
    "no-trainer": ProblemType(
        503,
        "No trainer is alive",
        "no trainer is alive",
        "Look at `training.log`; if the trainer does not run, start it with `--resume`.",
    ),
    "too-many-streams": ProblemType(
        503,
        "All event streams are taken",
        "`API_STREAMS` event streams are open",
        "Close streams, come again as `Retry-After` says, or raise `API_STREAMS`.",
    ),
    "tokens-unavailable": ProblemType(
        503,
        "The file of tokens cannot be used now",
        "the file of `API_TOKENS` cannot be used now; only `API_TOKEN` is accepted",
        "Mend the file that the server's log names.",
    ),
    "storage-unavailable": ProblemType(
        503,
        "The store or the run directory cannot be used now",
        "the store or the run directory cannot be used now",
        "Try again; if it lasts, look at the disk of the run directory, or at the database of `STORE_URL`.",
    ),
    "command-expired": ProblemType(
        504,
        "The command expired",
        "in a command, not as an answer: it did not begin in time and never will",
        "Send it again, with a longer `expires_in` or while a trainer is alive.",
    ),
}
