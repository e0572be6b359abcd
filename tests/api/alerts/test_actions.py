"""Links that pause or stop a run: to which alerts they belong, what they say, and which settings allow them."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from api.alerts.actions import ACTION_SECONDS, KINDS, Action, ActionLinks
from api.app import create_app
from api.http.problems import ProblemError
from service.commands import Kind
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event

SECRET = "at least twenty-four bytes of secret"
SENT_AT = 1_795_596_556
ACTION = Action("5f0c1e77ab42", 41, Kind.PAUSE, SENT_AT + ACTION_SECONDS)
EVENT = Event(
    41, "5f0c1e77ab42", 1_795_596_550.5, 4200, "alert",
    {"name": "disk", "is_on": True, "since": 1_795_596_490.5, "sentence": "Only 1.2 GiB are free."},
)  # fmt: skip


def links_of(**settings: Any) -> ActionLinks | None:
    return ActionLinks.of(RunConfig(**{"public_url": "https://train.example/", "action_secret": SECRET, **settings}))


@pytest.fixture
def links() -> ActionLinks:
    made = links_of()
    assert made is not None
    return made


def test_an_alert_can_be_answered_with_a_pause_and_a_stop(links: ActionLinks) -> None:
    offered = links.offered(EVENT, SENT_AT)

    assert [link.action for link in offered] == [replace(ACTION, kind=kind) for kind in KINDS]
    for link in offered:
        address, _, token = link.url.rpartition("/")
        assert address == "https://train.example/actions"
        assert links.verified(token) == link.action


@pytest.mark.parametrize("change", [{"is_on": False}, {"name": "lost"}, {"name": "failed"}])
def test_what_is_over_and_whose_trainer_is_gone_cannot_be_answered(links: ActionLinks, change: dict[str, Any]) -> None:
    assert links.offered(replace(EVENT, details={**EVENT.details, **change}), SENT_AT) == []


def test_a_link_works_from_when_it_is_sent_for_ten_minutes(links: ActionLinks) -> None:
    def is_expired_at(now: float) -> bool:
        return replace(links, clock=lambda: now).is_expired(ACTION)

    assert not is_expired_at(SENT_AT)
    assert not is_expired_at(SENT_AT + ACTION_SECONDS - 0.001)
    assert is_expired_at(SENT_AT + ACTION_SECONDS)
    assert is_expired_at(SENT_AT - ACTION_SECONDS), "a clock that was set back keeps no link alive"


def test_no_character_of_a_link_can_be_changed(links: ActionLinks) -> None:
    token = links.token(ACTION)

    for place, character in enumerate(token):
        other = "A" if character != "A" else "B"
        with pytest.raises(ProblemError, match="altered"):
            links.verified(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize(
    "change", [{"kind": Kind.STOP}, {"run_id": "other"}, {"expires_at": 2 * SENT_AT}, {"event_id": 42}]
)
def test_no_claim_can_be_exchanged_under_a_signature(links: ActionLinks, change: dict[str, Any]) -> None:
    claims = links.token(replace(ACTION, **change)).partition(".")[0]
    signature = links.token(ACTION).partition(".")[2]

    with pytest.raises(ProblemError, match="altered"):
        links.verified(f"{claims}.{signature}")


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", "ä.ö", "\0.\0", "." * 10_000, "x" * 10_000, "W10.W10"])
def test_what_is_no_token_is_refused(links: ActionLinks, token: str) -> None:
    with pytest.raises(ProblemError, match="altered"):
        links.verified(token)


def test_signed_claims_of_another_version_are_refused_too(links: ActionLinks) -> None:
    for claims in (["5f0c1e77ab42", 41, "dance", SENT_AT], ["5f0c1e77ab42"], {}, 7, None):
        encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        with pytest.raises(ProblemError, match="altered"):
            links.verified(f"{encoded}.{links.signature(encoded)}")


def test_another_secret_makes_all_links_void(links: ActionLinks) -> None:
    other = links_of(action_secret=SECRET + "!")
    assert other is not None

    with pytest.raises(ProblemError, match="not one of this server's"):
        other.verified(links.token(ACTION))


def test_a_link_holds_nothing_that_ends_it_in_a_text_or_in_a_header(links: ActionLinks) -> None:
    for link in links.offered(replace(EVENT, run_id="a run, with; all 'sorts' ä"), SENT_AT):
        assert set(link.url).isdisjoint(" ,;='\"<>")
        assert link.url.isascii()


def test_without_the_settings_there_are_none() -> None:
    assert ActionLinks.of(RunConfig()) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"public_url": ""}, "ACTION_SECRET is set, but PUBLIC_URL is not"),
        ({"action_secret": ""}, "PUBLIC_URL is set, but ACTION_SECRET is not"),
        ({"action_secret": "too short"}, "ACTION_SECRET has 9 bytes, but needs 24"),
        ({"action_secret": "whsec_?"}, "ACTION_SECRET begins with whsec_"),
        ({"public_url": "http://train.example"}, "for this machine alone"),
        ({"public_url": "train.example"}, "PUBLIC_URL is 'train.example'"),
        ({"public_url": "https://eva:geheim@train.example"}, "must be the address"),
        ({"public_url": "https://train.example/?a=b"}, "must be the address"),
        ({"public_url": "https://train.example/a, b"}, "must be the address"),
        ({"public_url": "https://train.example:0"}, "must be the address"),
        ({"public_url": "https://[::1"}, "must be the address"),
        ({"api_token": "t", "api_hosts": "other.example"}, "which API_HOSTS does not name"),
    ],
)
def test_settings_that_do_not_do_are_refused_at_the_start(settings: dict[str, Any], sentence: str) -> None:
    given = {"public_url": "https://train.example", "action_secret": SECRET, **settings}

    with pytest.raises(SettingError, match=sentence):
        create_app(RunConfig(**given))


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://train.example/leitstand/", "https://train.example/leitstand"),
        ("https://train.example:8443", "https://train.example:8443"),
        ("http://127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("http://[::1]:5050", "http://[::1]:5050"),
    ],
)
def test_the_address_may_have_a_port_and_a_path(url: str, base: str) -> None:
    made = links_of(public_url=url)

    assert made is not None
    assert made.public_url == base


def test_the_secret_is_shown_nowhere(links: ActionLinks) -> None:
    assert plain_values(RunConfig(public_url="https://train.example", action_secret=SECRET))["ACTION_SECRET"] == "(set)"
    assert SECRET not in repr(links)
