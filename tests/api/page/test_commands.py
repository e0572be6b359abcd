"""Commands from the page: every button does its thing, and says what came of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.commands import Command, CommandState
from service.run.state import RunState
from service.store.store import Store
from tests.api.harness.browsing import text_of
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.dashboard import click, is_shown, set_field, texts_of
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server

Eventually = Callable[..., None]


@pytest.fixture
def queued(living: Store, eventually: Eventually) -> Callable[[], Command]:
    """The one command that comes to wait."""

    def wait() -> Command:
        eventually(lambda: living.commands.find(RUN_ID, CommandState.QUEUED), what="a queued command")
        (command,) = living.commands.find(RUN_ID, CommandState.QUEUED)
        return command

    return wait


Queued = Callable[[], Command]


def test_validate_is_queued_and_its_outcome_shown(
    page: Chrome, living: Store, queued: Queued, eventually: Eventually
) -> None:
    click(page, "validate")
    command = queued()

    assert (command.kind, command.actor, command.source) == ("validate", "anonymous@127.0.0.1", "web")
    eventually(lambda: text_of(page, "#outcome-state") == "queued", what="the outcome queued")
    assert not page.find_element(By.ID, "validate").is_enabled()

    living.commands.begin(command.id)
    eventually(lambda: text_of(page, "#outcome-state") == "running", what="the outcome running")
    living.commands.finish(command.id, CommandState.DONE, step=4212, result={"record": "Statistik_4212.json"})
    eventually(lambda: text_of(page, "#outcome-state") == "done", what="the outcome done")
    assert "step 4,212" in text_of(page, "#outcome-text")
    assert "Saved as Statistik_4212.json. Asked by anonymous@127.0.0.1 (web)." in text_of(page, "#outcome-text")
    eventually(lambda: page.find_element(By.ID, "validate").is_enabled(), what="the button enabled again")
    told = "Validate done, asked by anonymous@127.0.0.1"
    eventually(lambda: told in texts_of(page, "#events .event-text"), what="the entry in the list")


def test_a_failed_command_says_why(page: Chrome, living: Store, queued: Queued, eventually: Eventually) -> None:
    click(page, "checkpoint")
    living.commands.finish(queued().id, CommandState.FAILED, reason="the disk is full")

    eventually(lambda: "the disk is full" in text_of(page, "#outcome-text"), what="the reason")
    assert text_of(page, "#outcome-state") == "failed"


def test_pause_becomes_resume_only_when_the_run_is_paused(
    page: Chrome, living: Store, queued: Queued, eventually: Eventually
) -> None:
    click(page, "pause")
    command = queued()
    assert not is_shown(page, "#resume")

    living.runs.update(RUN_ID, state=RunState.PAUSED.value)
    living.commands.finish(command.id, CommandState.DONE, step=4200)
    eventually(lambda: is_shown(page, "#resume"), what="the button Resume")
    assert "primary" in str(page.find_element(By.ID, "resume").get_attribute("class"))
    assert "primary" not in str(page.find_element(By.ID, "validate").get_attribute("class"))
    assert not is_shown(page, "#pause")
    assert text_of(page, "#badge") == "Paused"

    eventually(lambda: page.find_element(By.ID, "resume").is_enabled(), what="the button enabled")
    click(page, "resume")
    assert queued().kind == "resume"


def test_a_persons_note_goes_with_one_command_and_is_shown_with_its_outcome(
    page: Chrome, living: Store, queued: Queued, eventually: Eventually
) -> None:
    set_field(page, "#why", "  <b>before</b> the disk is changed ")
    click(page, "checkpoint")
    command = queued()

    assert command.why == "<b>before</b> the disk is changed"
    eventually(lambda: "Why: <b>before</b> the disk is changed" in text_of(page, "#outcome-text"), what="the note")
    assert page.find_element(By.ID, "why").get_attribute("value") == ""
    living.commands.finish(command.id, CommandState.DONE, step=4200)
    told = "Checkpoint done, asked by anonymous@127.0.0.1 – <b>before</b> the disk is changed"
    eventually(lambda: told in texts_of(page, "#events .event-text"), what="the entry in the list")
    eventually(lambda: page.find_element(By.ID, "checkpoint").is_enabled(), what="the button enabled again")
    click(page, "checkpoint")
    assert queued().why is None


def test_what_was_written_as_a_reason_is_in_the_dialog_that_asks(page: Chrome, queued: Queued) -> None:
    set_field(page, "#why", "enough")
    click(page, "stop")
    assert page.find_element(By.ID, "stop-why").get_attribute("value") == "enough"
    page.find_element(By.ID, "stop-why").send_keys(" for today")

    click(page, "stop-confirm")

    assert queued().why == "enough for today"


def test_stop_asks_first(page: Chrome, living: Store, queued: Queued) -> None:
    click(page, "stop")
    page.find_element(By.CSS_SELECTOR, "#stop-dialog button[value=cancel]").click()
    click(page, "stop")
    assert living.commands.find(RUN_ID) == []

    click(page, "stop-confirm")
    assert queued().kind == "stop"


def test_a_command_can_wait_for_its_step_and_be_cancelled(
    page: Chrome, living: Store, queued: Queued, eventually: Eventually
) -> None:
    set_field(page, "#at-step", "9000")
    click(page, "checkpoint")
    command = queued()

    assert command.apply_at_step == 9000
    eventually(lambda: texts_of(page, "#waiting span") == ["Checkpoint waits for step 9,000"], what="the waiting one")
    assert page.find_element(By.ID, "at-step").get_attribute("value") == ""
    assert page.find_element(By.ID, "checkpoint").is_enabled(), "another one may come first"
    page.find_element(By.CSS_SELECTOR, "#waiting button").click()

    eventually(lambda: living.commands.find(RUN_ID)[0].state is CommandState.CANCELLED, what="the command cancelled")
    eventually(lambda: texts_of(page, "#waiting span") == [], what="nothing that waits")


def test_a_step_that_has_passed_is_refused_with_the_reason(page: Chrome, living: Store, eventually: Eventually) -> None:
    set_field(page, "#at-step", "12")
    click(page, "validate")

    eventually(lambda: text_of(page, "#outcome-state") == "refused", what="the refusal")
    assert "12" in text_of(page, "#outcome-text")
    assert living.commands.find(RUN_ID) == []


def test_going_back_to_a_checkpoint_asks_first(
    page: Chrome, root: Path, living: Store, queued: Queued, eventually: Eventually
) -> None:
    write_checkpoint(root, 3500, "best")
    living.events.add(RUN_ID, 3500, "checkpoint", {"checkpoint": "step_0003500"})
    eventually(lambda: is_shown(page, "#records .control"), what="the button beside the record")
    click(page, "go-back")
    assert "best" in text_of(page, "#checkpoints")
    page.find_element(By.CSS_SELECTOR, "#checkpoints button").click()
    assert text_of(page, "#rollback-title") == "Go back to step 3,500?"
    page.find_element(By.CSS_SELECTOR, "#rollback-dialog button[value=cancel]").click()
    assert living.commands.find(RUN_ID) == []

    page.execute_script("document.querySelector('#records .control').click()")
    click(page, "rollback-confirm")

    command = queued()
    assert (command.kind, command.arguments) == ("rollback", {"checkpoint": "step_0003500"})


# Settings


def open_settings(page: Chrome, eventually: Eventually) -> None:
    click(page, "change")
    eventually(lambda: page.find_elements(By.ID, "setting-LR_SCALE"), what="the settings")


def test_settings_are_checked_and_then_sent(
    page: Chrome, living: Store, queued: Queued, eventually: Eventually
) -> None:
    open_settings(page, eventually)
    assert not page.find_element(By.ID, "settings-send").is_enabled()
    assert "factor" in text_of(page, ".setting"), "each says what it means"
    set_field(page, "#setting-LR_SCALE", "0.5")
    assert text_of(page, "#settings-send") == "Check 1 change"

    click(page, "settings-send")
    eventually(lambda: text_of(page, "#settings-result").startswith("Allowed: LR_SCALE = 0.5"), what="the check")
    assert living.commands.find(RUN_ID) == [], "a dry run queues nothing"
    click(page, "settings-send")

    command = queued()
    assert (command.kind, command.arguments) == ("set", {"LR_SCALE": 0.5})
    assert not is_shown(page, "#settings-dialog")


def test_a_wrong_setting_is_refused_where_it_was_entered(page: Chrome, living: Store, eventually: Eventually) -> None:
    open_settings(page, eventually)
    set_field(page, "#setting-LR_SCALE", "200")
    click(page, "settings-send")

    eventually(lambda: "LR_SCALE is 200" in text_of(page, "#settings-result"), what="the reason")
    assert text_of(page, "#settings-send") == "Check 1 change"
    assert living.commands.find(RUN_ID) == []


def test_what_another_person_changed_meanwhile_is_not_changed_unseen(
    page: Chrome, living: Store, server: Server, eventually: Eventually
) -> None:
    open_settings(page, eventually)
    answer = requests.patch(f"{server.url}/settings", json={"MAX_LR": 0.0005}, timeout=20)
    assert answer.status_code == 202
    set_field(page, "#setting-LR_SCALE", "0.5")
    click(page, "settings-send")

    eventually(lambda: "changed" in text_of(page, "#settings-result").lower(), what="the reason")
    assert [command.arguments for command in living.commands.find(RUN_ID)] == [{"MAX_LR": 0.0005}]


def test_an_adaptive_setting_can_be_held(page: Chrome, queued: Queued, eventually: Eventually) -> None:
    open_settings(page, eventually)
    assert not page.find_element(By.ID, "setting-L1_WEIGHT").is_enabled()
    row = page.find_element(By.ID, "setting-L1_WEIGHT").find_element(By.XPATH, "../..")
    page.execute_script("arguments[0].click()", row.find_element(By.CSS_SELECTOR, ".setting-adapts input"))
    set_field(page, "#setting-L1_WEIGHT", "0.55")

    click(page, "settings-send")
    eventually(lambda: text_of(page, "#settings-send") == "Send 1 change", what="the check")
    click(page, "settings-send")

    assert queued().arguments == {"L1_WEIGHT": 0.55}


# Keys


@pytest.mark.parametrize(("key", "kind"), [("v", "validate"), ("p", "pause"), ("c", "checkpoint")])
def test_the_keys_are_those_of_the_terminal(page: Chrome, queued: Queued, key: str, kind: str) -> None:
    page.find_element(By.TAG_NAME, "body").send_keys(key)

    assert queued().kind == kind


def test_the_key_to_stop_asks_first_and_q_closes_what_is_open(page: Chrome, living: Store) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys("s")
    assert is_shown(page, "#stop-dialog")
    body.send_keys("q")
    assert not is_shown(page, "#stop-dialog")
    body.send_keys("?")
    assert "save a checkpoint now" in text_of(page, "#help-dialog")
    body.send_keys("c")
    assert living.commands.find(RUN_ID) == [], "not while the help is open"


def test_who_writes_presses_no_keys(page: Chrome, living: Store) -> None:
    page.find_element(By.ID, "events-find").send_keys("vpcs?")

    assert living.commands.find(RUN_ID) == []
    assert not is_shown(page, "#help-dialog")
