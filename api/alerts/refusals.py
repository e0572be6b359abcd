"""What apprise says of an attempt that failed: whether the receiver refused it for good, and why.

apprise's result says only that an attempt failed. Its log for the attempt has the status of the HTTP answer, or what
the mail server said; these have had one form each in all of its services for years. What has another form counts as
something that may pass.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus

TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
SMTP_REASONS = {
    530: "it wants a user name and a password",
    534: "it does not take this kind of password",
    535: "it does not accept the user name or the password",
    550: "it does not know a recipient, or does not let the sender send",
    551: "it does not know a recipient, or does not let the sender send",
    553: "it does not know a recipient, or does not let the sender send",
}
HTTP_REASONS = {
    401: "it does not accept the user name, the password or the token",
    403: "it does not allow this",
    404: "it does not know the address",
    410: "its address is gone",
}
_HTTP_STATUS = re.compile(r"\berror=([1-5][0-9]{2})(?:[0-9]{2})?\.?$")
"""With two more digits it is the code of an error of ntfy."""
_SMTP_ANSWER = re.compile(r"^Socket Exception: (?:\{'[^']*': )?\(([245][0-9]{2}), ")
_SMTP_RECIPIENT = re.compile(r"^SMTP recipient \S+ was refused: ([245][0-9]{2}) ")


def refusal_of(messages: Iterable[str]) -> str:
    """Return why the receiver refused an attempt for good; empty if it may take another one.

    `messages` are apprise's log of the attempt. Neither an address nor a secret is in what is returned. Of several
    recipients all must have been refused: one that may take the alert later must get it.
    """
    smtp, http = set[int](), set[int]()
    for message in messages:
        if found := _SMTP_ANSWER.search(message) or _SMTP_RECIPIENT.search(message):
            smtp.add(int(found[1]))
        elif found := _HTTP_STATUS.search(message):
            http.add(int(found[1]))
        elif message.startswith("Socket Exception:"):
            return ""
    if not smtp | http or any(code < 500 for code in smtp) or any(map(_is_transient, http)):
        return ""
    if smtp:
        return f"the mail server refuses it: {SMTP_REASONS.get(min(smtp), 'it says so for good')} ({min(smtp)})"
    return f"it refuses it: {HTTP_REASONS.get(min(http), 'it says so for good')} ({min(http)})"


def _is_transient(status: int) -> bool:
    return status >= 500 or status < 300 or status in TRANSIENT
