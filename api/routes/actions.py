"""`/actions/<token>`: the links in notifications that pause or stop a run, each once, within ten minutes.

Whoever has such a link needs no token. Programs that look at links, as mail filters do, only GET them: that shows a
page with a button and changes nothing.
"""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, request

from api.alerts.actions import KINDS, Action, ActionLinks, action_links_of
from api.commands.acceptance import accept
from api.commands.request import CommandRequest
from api.http.auth import ANONYMOUS, CONTENT_POLICY
from api.http.operation import Answer, Scope, operation, wants_page
from api.http.parameters import PathParameter
from api.http.problems import ProblemError
from api.http.rate_limit import client_network
from api.http.static_files import page
from api.routes.run.commands import command_answer
from api.runs.context import RunContext
from api.runs.registry import current_registry
from service.api_types import CommandAnswer
from service.commands import Command, outcome_sentence

SOURCE = "notification"
"""`source` of the commands, beside those that clients name."""
PAGE_HEADERS = {
    # The page's own form may be sent, and names where it comes from: `no-referrer` would hide that as `Origin: null`.
    "Content-Security-Policy": CONTENT_POLICY.replace("form-action 'none'", "form-action 'self'"),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOKEN = PathParameter(
    "token", "the end of the link", {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"}
)

blueprint = Blueprint("actions", __name__)


@blueprint.get("/actions/<token>")
@operation(
    Scope.OPEN, TOKEN,
    answers=[Answer(media_type="text/html", description="a page with a button, or what became of the link")],
    problems=["not-found", "action-invalid", "storage-unavailable"],
)  # fmt: skip
def ask(token: str) -> Response:
    """Show what the link would do, and a button that does it; changes nothing."""
    links, action = _verified(token)
    context = _context(action)
    command = context.store.commands.get_by_key(action.run_id, action.key) if context.store.exists() else None
    response = page(render_template("action.html", **_shown(action, command, is_expired=links.is_expired(action))))
    response.headers.update(PAGE_HEADERS)
    return response


@blueprint.post("/actions/<token>")
@operation(
    Scope.OPEN, TOKEN,
    answers=[
        Answer(CommandAnswer, "the command is queued and on disk, not done", 202),
        Answer(media_type="text/html", description="for a browser", status=303, headers={"Location": "the page"}),
    ],
    problems=[
        "not-found", "action-invalid", "action-expired", "action-used",
        "run-ended", "no-run", "no-trainer", "read-only-store", "storage-unavailable",
    ],
)  # fmt: skip
def use(token: str) -> Response:
    """Queue the link's command, once."""
    links, action = _verified(token)
    if links.is_expired(action):
        raise ProblemError("action-expired", "The ten minutes of this link are over; nothing was changed.")
    context = _context(action)
    with context.transaction_scope():
        command, is_repeated = accept(context, _command_request(action))
    if wants_page():
        response = redirect(token, 303)  # relative, so that it stays below the prefix of a proxy
        assert isinstance(response, Response)
        return response
    if is_repeated:
        raise ProblemError("action-used", f"This was asked before: {_outcome(command)} Nothing was changed now.")
    response = jsonify(command_answer(command))
    response.status_code = 202
    return response


def _verified(token: str) -> tuple[ActionLinks, Action]:
    """Return the server's links and the action of this one; raises `ProblemError`."""
    links = action_links_of(current_app)
    if links is None:
        raise ProblemError("not-found", "This server has no links that act; PUBLIC_URL and ACTION_SECRET are not set.")
    links.rate_limit.require_capacity(client_network(request.remote_addr or ""))
    action = links.verified(token)
    if action.kind not in KINDS:
        raise ProblemError("action-invalid", f"No link may ask for {action.kind}.")
    return links, action


def _context(action: Action) -> RunContext:
    context = current_registry().context(action.run_id, for_change=request.method == "POST")
    assert isinstance(context, RunContext)
    return context


def _command_request(action: Action) -> CommandRequest:
    """Return the request for the command, whose key lets the store take it once."""
    return CommandRequest.of_action(action.kind, f"{ANONYMOUS}@{request.remote_addr}", SOURCE, action.key)


def _shown(action: Action, command: Command | None, *, is_expired: bool) -> dict[str, Any]:
    """Return what the page shows: the outcome of a command, or the button, or that it is too late."""
    kind = action.kind.value.capitalize()
    title = f"{kind} run {action.run_id}"
    if command is not None:
        return {"title": title, "sentence": f"This was asked for. {_outcome(command)}", "button": None}
    if is_expired:
        return {"title": title, "sentence": "The ten minutes of this link are over.", "button": None}
    return {"title": title, "sentence": f"{kind} run {action.run_id}? This works once.", "button": kind}


def _outcome(command: Command) -> str:
    """Return what became of a command, as a sentence."""
    if not command.state.is_final:
        return f"The {command.kind} command is {command.state}."
    return outcome_sentence(command.kind, command.state, command.step, command.result, command.reason)
