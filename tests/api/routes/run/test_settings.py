"""GET and PATCH /settings."""

import hashlib
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient

from api.commands.body_schemas import body_schemas
from service.commands import CommandState
from service.config.live_settings import CHANGEABLE, PINNABLE, LiveSettings
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, RUN_ID


@pytest.fixture
def start(store: Store) -> RunConfig:
    """What the run of `store` was started with."""
    start = RunConfig(max_steps=20_000, perceptual_weight=0.1, api_token="geheim")
    store.runs.update(RUN_ID, config=plain_values(start), facts={"has_perceptual": True})
    return start


def set_live(store: Store, start: RunConfig, **changes: Any) -> None:
    """What a trainer writes that carried out these changes."""
    live = LiveSettings(start).with_changes(changes, step=0, has_perceptual=True)
    store.runs.update(RUN_ID, live=live.state())


def test_settings_are_those_of_the_start_until_something_changes(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    answer = client.get("/settings").get_json()

    assert answer["settings"] == plain_values(start)
    assert answer["settings"]["API_TOKEN"] == "(set)"
    assert (answer["changes"], answer["pins"], answer["pending"]) == ({}, {}, [])
    assert [row["name"] for row in answer["changeable"]] == [*CHANGEABLE, *PINNABLE]


@on_both_databases
def test_settings_show_what_changed_and_what_is_held(client: FlaskClient, store: Store, start: RunConfig) -> None:
    set_live(store, start, MAX_LR=1e-3, L1_WEIGHT=0.5, SAVE_BEST=False)

    answer = client.get("/settings").get_json()

    assert answer["settings"] == {**plain_values(start), "MAX_LR": 1e-3, "L1_WEIGHT": 0.5, "SAVE_BEST": False}
    assert answer["changes"] == {"MAX_LR": 1e-3, "L1_WEIGHT": 0.5, "SAVE_BEST": False}
    assert answer["pins"] == {"L1_WEIGHT": 0.5}
    assert {row["name"]: row for row in answer["changeable"]}["MAX_LR"] == {
        "name": "MAX_LR", "value": 1e-3, "start_value": 1e-4, "range": "between 1e-09 and 1",
        "meaning": "learning rate at the end of the warm-up",
    }  # fmt: skip


@on_both_databases
def test_a_change_under_way_is_shown_until_it_is_in_force(client: FlaskClient, store: Store, start: RunConfig) -> None:
    later = client.patch("/settings?apply_at_step=5000", json={"LOG_EVERY": 7}).get_json()["id"]
    soon = client.patch("/settings", json={"LR_SCALE": 0.5}).get_json()["id"]
    client.post("/pause")
    store.commands.begin(soon)

    pending = client.get("/settings").get_json()["pending"]
    set_live(store, start, LR_SCALE=0.5)
    store.commands.finish(soon, CommandState.DONE, step=4201)

    assert pending == [
        {"command_id": later, "changes": {"LOG_EVERY": 7}, "apply_at_step": 5000},
        {"command_id": soon, "changes": {"LR_SCALE": 0.5}, "apply_at_step": None},
    ]
    assert [row["command_id"] for row in client.get("/settings").get_json()["pending"]] == [later]


@on_both_databases
def test_the_tag_is_that_of_all_that_is_shown(client: FlaskClient, store: Store, start: RunConfig) -> None:
    first = client.get("/settings")
    tag = first.headers["ETag"]
    store.runs.update(RUN_ID, step=LAST_STEP + 1, heartbeat_at=1.0, reason="nothing of the settings")
    same = client.get("/settings", headers={"If-None-Match": tag})
    set_live(store, start, LR_SCALE=0.5)
    other = client.get("/settings", headers={"If-None-Match": tag})

    assert tag == f'"{hashlib.sha256(first.get_data()).hexdigest()}"'
    assert (same.status_code, same.get_data(), same.headers["ETag"]) == (304, b"", tag)
    assert (other.status_code, other.headers["ETag"]) == (200, f'"{hashlib.sha256(other.get_data()).hexdigest()}"')


def test_a_change_on_the_strength_of_the_present_settings_is_taken(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    tag = client.get("/settings").headers["ETag"]

    for condition in (tag, f'"another", {tag}', "*"):
        answer = client.patch("/settings", json={"LR_SCALE": 0.5}, headers={"If-Match": condition})
        store.commands.reject_queued(RUN_ID, "for the next one")
        assert answer.status_code == 202


def test_a_change_on_the_strength_of_other_settings_is_refused_with_the_present_tag(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    old = client.get("/settings").headers["ETag"]
    set_live(store, start, LR_SCALE=0.25)
    present = client.get("/settings").headers["ETag"]

    for query in ("", "?dry_run=true"):
        answer = client.patch(f"/settings{query}", json={"LR_SCALE": 0.5}, headers={"If-Match": old})
        assert (answer.status_code, answer.get_json()["type"]) == (412, "/problems/precondition-failed")
        assert answer.headers["ETag"] == present
    assert store.commands.find(RUN_ID) == []


def test_a_weak_tag_never_matches(client: FlaskClient, store: Store, start: RunConfig) -> None:
    weak = f"W/{client.get('/settings').headers['ETag']}"

    assert client.patch("/settings", json={"LR_SCALE": 0.5}, headers={"If-Match": weak}).status_code == 412


@on_both_databases
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_change_that_is_not_in_force_yet_counts_as_one(
    client: FlaskClient, store: Store, start: RunConfig, is_begun: bool
) -> None:
    condition = {"If-Match": client.get("/settings").headers["ETag"]}
    first = client.patch("/settings", json={"LR_SCALE": 0.5}, headers=condition)
    if is_begun:
        store.commands.begin(first.get_json()["id"])

    assert client.patch("/settings", json={"LR_SCALE": 0.25}, headers=condition).status_code == 412
    assert client.patch("/settings", json={"LR_SCALE": 0.25}).status_code == 202


def test_a_change_that_was_taken_back_counts_as_none(client: FlaskClient, store: Store, start: RunConfig) -> None:
    condition = {"If-Match": client.get("/settings").headers["ETag"]}
    client.delete(client.patch("/settings", json={"LR_SCALE": 0.5}, headers=condition).headers["Location"])

    assert client.patch("/settings", json={"LR_SCALE": 0.25}, headers=condition).status_code == 202


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
def test_a_change_is_json_or_a_merge_patch(
    client: FlaskClient, store: Store, start: RunConfig, content_type: str
) -> None:
    answer = client.patch("/settings", data=b'{"L1_WEIGHT": null}', content_type=content_type)

    assert (answer.status_code, answer.get_json()["arguments"]) == (202, {"L1_WEIGHT": "adaptive"})


def test_another_kind_of_patch_is_refused_with_those_that_are_taken(client: FlaskClient, store: Store) -> None:
    answer = client.patch("/settings", data=b"[]", content_type="application/json-patch+json")

    assert answer.status_code == 415
    assert answer.headers["Accept-Patch"] == "application/json, application/merge-patch+json"


def test_the_published_body_holds_every_setting_that_can_change_with_its_range() -> None:
    schema = body_schemas()["SettingsChange"]

    assert tuple(schema["properties"]) == (*CHANGEABLE, *PINNABLE, "why")
    jsonschema.Draft202012Validator.check_schema(schema)
    for good in (
        {"LR_SCALE": 0.5},
        {"SAVE_BEST": False},
        {"L1_WEIGHT": "adaptive"},
        {"L1_WEIGHT": None, "LOG_EVERY": 3},
    ):
        jsonschema.validate(good, schema)
    for bad in (
        {},
        {"why": "alone"},
        {"N_FEATS": 8},
        {"LR_SCALE": 101},
        {"SAVE_BEST": 1},
        {"LOG_EVERY": 0.5},
        {"LR_SCALE": "adaptive"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_settings_of_a_run_that_a_previous_version_began_are_shown(client: FlaskClient, store: Store) -> None:
    answer = client.get("/settings").get_json()

    assert answer["settings"]["MAX_STEPS"] == 20_000
    assert answer["settings"]["LR_SCALE"] == 1.0


def test_without_a_run_there_are_no_settings(client: FlaskClient) -> None:
    answer = client.get("/settings")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/no-run")


@on_both_databases
def test_a_change_is_a_command_like_the_others(client: FlaskClient, store: Store, start: RunConfig) -> None:
    answer = client.patch("/settings", json={"lr_scale": "0.5", "GRAD_CLIP": None, "VAL_STEP_EVERY": 250})

    command = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/commands/{command['id']}"
    arguments = {"LR_SCALE": 0.5, "INITIAL_GRAD_CLIP": "adaptive", "VAL_STEP_EVERY": 250}
    assert (command["kind"], command["arguments"]) == ("set", arguments)
    assert [queued.arguments for queued in store.commands.find(RUN_ID)] == [arguments]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "set takes at least one setting"),
        ({"LR_SCLAE": 1}, "Did you mean LR_SCALE?"),
        ({"N_FEATS": 64}, "N_FEATS is read at the start only"),
        ({"LR_SCALE": 1000}, "LR_SCALE is 1000.0, but must be between 0 and 100."),
        ({"LR_SCALE": [1]}, "LR_SCALE is [1], but must be a number."),
        ({"MIN_LR": 1e-3}, "must not exceed MAX_LR"),
        ({"MAX_STEPS": LAST_STEP}, f"must be above the run's step, which is {LAST_STEP}"),
        ({"L1_WEIGHT": 0.8, "MS_WEIGHT": 0.4}, "L1_WEIGHT + MS_WEIGHT is 1.2"),
        ({"LR_SCALE": 0.5, "LOG_EVERY": 0}, "LOG_EVERY is 0, but must be"),
    ],
)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_change_that_cannot_be_is_refused_with_the_reason(
    client: FlaskClient, store: Store, start: RunConfig, body: dict[str, Any], words: str, query: str
) -> None:
    answer = client.patch(f"/settings{query}", json=body)

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert words in answer.get_json()["detail"]
    assert store.commands.find(RUN_ID) == []


def test_all_wrong_values_are_told_at_once_each_with_its_place(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    body = {"LR_SCALE": 200, "val_step_every": "often", "LOG_EVERY": 100, "A/~ b": 1, "SEED": 7}

    problem = client.patch("/settings", json=body).get_json()

    told = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert list(told) == ["#/LR_SCALE", "#/val_step_every", "#/A~1~0%20b", "#/SEED"]
    assert told["#/LR_SCALE"].startswith("LR_SCALE is 200.0, but must be")
    assert problem["detail"] == " ".join([*list(told.values())[:3], "1 more is wrong."])
    assert store.commands.find(RUN_ID) == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"MAX_STEPS": LAST_STEP}, ["#/MAX_STEPS"]),
        ({"log_every": 5, "max_steps": LAST_STEP}, ["#/max_steps"]),
        ({"log_every": 5, "LOG_EVERY": 6}, ["#/LOG_EVERY"]),
        ({"MIN_LR": 1e-3, "LOG_EVERY": 5}, ["#/MIN_LR"]),
        ({"min_lr": 1e-3, "MAX_LR": 5e-4}, ["#/min_lr", "#/MAX_LR"]),
        ({"PLATEAU_PATIENCE": 10**6}, ["#/PLATEAU_PATIENCE"]),
        ({"L1_WEIGHT": 0.9, "MS_WEIGHT": 0.9, "SAVE_BEST": True}, ["#/L1_WEIGHT", "#/MS_WEIGHT"]),
    ],
)
def test_every_wrong_value_has_its_place_one_of_a_contradiction_too(
    client: FlaskClient, store: Store, start: RunConfig, body: dict[str, Any], pointers: list[str]
) -> None:
    problem = client.patch("/settings", json=body).get_json()

    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert {error["detail"] for error in problem["errors"]} == {problem["detail"]}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" + "0" * 400])
def test_a_number_that_is_none_is_refused(client: FlaskClient, store: Store, start: RunConfig, number: str) -> None:
    body = b'{"LR_SCALE": ' + number.encode() + b"}"

    answer = client.patch("/settings", data=body, content_type="application/json")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


def test_a_change_is_checked_against_what_is_in_force_now(client: FlaskClient, store: Store, start: RunConfig) -> None:
    assert client.patch("/settings?dry_run", json={"MIN_LR": 5e-4}).status_code == 422

    set_live(store, start, MAX_LR=1e-3)

    assert client.patch("/settings?dry_run", json={"MIN_LR": 5e-4}).status_code == 200


def test_max_steps_must_be_above_the_step_at_which_it_is_to_apply(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    later = LAST_STEP + 500

    assert client.patch(f"/settings?apply_at_step={later}", json={"MAX_STEPS": later}).status_code == 422
    assert client.patch(f"/settings?apply_at_step={later}", json={"MAX_STEPS": later + 1}).status_code == 202


@pytest.mark.parametrize(("facts", "status"), [({"has_perceptual": False}, 422), ({}, 202), (None, 202)])
def test_the_perceptual_weight_needs_its_term(
    client: FlaskClient, store: Store, start: RunConfig, facts: dict[str, Any] | None, status: int
) -> None:
    store.runs.update(RUN_ID, facts=facts)

    assert client.patch("/settings", json={"PERCEPTUAL_WEIGHT": 0.2}).status_code == status


def test_another_sites_page_can_neither_change_settings_nor_cancel(
    client: FlaskClient, store: Store, start: RunConfig
) -> None:
    command = client.post("/pause").get_json()
    headers = {"Origin": "http://evil.example"}

    answers = [
        client.patch("/settings", json={"LR_SCALE": 0.5}, headers=headers),
        client.delete(f"/commands/{command['id']}", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert [(queued.kind, queued.state) for queued in store.commands.find(RUN_ID)] == [("pause", "queued")]


def test_the_page_names_all_that_can_change_and_nothing_else(repository: Path) -> None:
    page = (repository / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.split("\n### Settings\n")[1].partition("\n### ")[0]
    listed = section.split("These can change:")[1].partition("also\n")[0]

    assert tuple(re.findall(r"`([A-Z0-9_]+)`", listed)) == (*CHANGEABLE, *PINNABLE)
