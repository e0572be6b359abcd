"""The page's bar, panels and banner in a real browser: how the run is, and what to do."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from service.run.ledger.time_spent import Activity, TimeSpent
from service.run.state import RunState
from service.store.queries.ranks import RankRow
from service.store.store import Store
from tests.api.harness.browsing import complaints, count_pixels, text_of
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.dashboard import (
    click,
    failed,
    failing,
    forget_requests,
    held,
    holding,
    is_shown,
    requested,
    set_field,
    showing,
    texts_of,
)
from tests.api.harness.example_run import LAST_STEP, RUN_ID, example_record, write_run
from tests.api.harness.serving import Serving

Eventually = Callable[..., None]


def test_the_page_shows_where_the_run_stands(page: Chrome) -> None:
    assert text_of(page, "#step") == "4,200"
    assert text_of(page, "#step-max") == "20,000"
    assert text_of(page, "#percent") == "21.0 %"
    assert page.find_element(By.ID, "progress").get_attribute("value") == "0.21"
    assert text_of(page, "#eta") == "55 min 18 s"
    assert text_of(page, "#epoch") == "4"
    assert text_of(page, "#quality") == "0.6977"
    assert text_of(page, "#best") == "0.6977"
    assert text_of(page, "#speed") == "0.210 s/step"
    assert text_of(page, "#speed-note") == "38.1 samples/s"
    assert text_of(page, "#rate-note") == "cosine"
    assert [row.text.split()[0] for row in page.find_elements(By.CSS_SELECTOR, "#ranks tr")] == ["0", "1"]
    terms = [row.text.split() for row in page.find_elements(By.CSS_SELECTOR, "#terms tr")]
    assert [row[0] for row in terms] == ["L1", "Multi-scale", "Gradient", "Perceptual"]
    assert [row[2] for row in terms] == ["0.60", "0.20", "0.20", "0.05"]


def test_the_bar_tells_run_state_since_when_place_and_end(page: Chrome) -> None:
    assert text_of(page, "#run-name") == RUN_ID
    assert text_of(page, "#since").startswith("since ")
    assert text_of(page, "#bar-step") == "4,200 / 20,000"
    assert text_of(page, "#finish").startswith("finishes ")
    assert "Data" in text_of(page, "#link-text")
    assert not is_shown(page, "#banner"), "of a run that runs there is nothing to say"


def test_the_switch_leads_to_other_runs(page: Chrome, eventually: Eventually) -> None:
    click(page, "run-button")

    eventually(lambda: page.find_elements(By.CSS_SELECTOR, "#runs-list a"), what="the list of runs")
    link = page.find_element(By.CSS_SELECTOR, "#runs-list a")
    assert str(link.get_attribute("href")).endswith(f"/runs/{RUN_ID}/")
    assert "Running" in link.text
    link.click()
    eventually(lambda: page.current_url.endswith(f"/runs/{RUN_ID}/"), what="the page of that run")
    eventually(lambda: text_of(page, "#badge") == "Running", what="the badge")


# What the banner says


def test_a_lost_trainer_is_named_and_cannot_be_commanded(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.runs.update(RUN_ID, heartbeat_at=time.time() - 30)

    eventually(lambda: text_of(page, "#badge") == "Trainer lost", what="the badge")
    eventually(lambda: "no sign of life" in text_of(page, "#banner-title"), what="the banner")
    assert "s ago" in text_of(page, "#banner-text")
    assert text_of(page, "#banner-command") == "leitstand up"
    buttons = [page.find_element(By.ID, name) for name in ("validate", "pause", "checkpoint", "stop", "change")]
    assert not any(button.is_enabled() for button in buttons)


def test_a_failed_run_says_why_with_the_end_of_its_log(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    (root / "training.log").write_text("a first line\n<b>a last line</b>\n")

    living.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left", step=LAST_STEP + 1)

    eventually(lambda: "The run failed" in text_of(page, "#banner-title"), what="the banner")
    assert text_of(page, "#banner-text") == "no space left"
    eventually(lambda: "<b>a last line</b>" in text_of(page, "#banner-log"), what="the log")
    assert text_of(page, "#banner-command") == "leitstand up"


def test_a_stalled_run_names_the_rank_that_stands_out(page: Chrome, living: Store, eventually: Eventually) -> None:
    waiting = RankRow(0, time.time() + 3600, "gpu-07", 4711, "cuda:0", "all-reduce", 512, 61.5, None, None)
    stack = '  File "ddp/step/stepper.py", line 60, in make_step'
    hanging = replace(waiting, rank=1, stage="data", stack=stack, stacked_at=time.time())
    living.ranks.replace(RUN_ID, [waiting, hanging])

    living.runs.update(RUN_ID, progress_at=time.time() - 90)

    eventually(lambda: "nothing moves" in text_of(page, "#banner-title"), what="the banner")
    eventually(lambda: is_shown(page, "#banner-rank"), what="the rank")
    assert text_of(page, "#banner-outlier").startswith("Rank 1 has been in “data” for 1 min")
    assert text_of(page, "#banner-command") == "leitstand ranks --stack 1"
    click(page, "banner-rank")
    eventually(lambda: "in make_step" in text_of(page, "#stack-text"), what="the stack")


def test_a_rank_that_hangs_is_named_before_the_run_as_a_whole_counts_as_stalled(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    reason = "Rank 1 has been in stage data for 3 s. By their stacks, rank 1 is in data (read, <patch_set>.py)."
    waiting = RankRow(0, time.time() + 3600, "gpu-07", 4711, "cuda:0", "all-reduce", 512, 4.5, None, None)
    living.ranks.replace(RUN_ID, [waiting, replace(waiting, rank=1, stage="data")])

    living.runs.update(RUN_ID, reason=reason)

    eventually(lambda: text_of(page, "#banner-title") == "A rank hangs.", what="the banner")
    assert text_of(page, "#banner-text") == reason
    eventually(lambda: is_shown(page, "#banner-rank"), what="the rank")
    assert text_of(page, "#banner-command") == "leitstand ranks --stack 1"

    living.runs.update(RUN_ID, reason=None)

    eventually(lambda: not is_shown(page, "#banner"), what="the end of the banner")


def test_a_slow_rank_of_a_run_that_goes_on_is_named(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.runs.update(RUN_ID, snapshot={**example_record(LAST_STEP, time.time()), "slow_rank": 1})

    eventually(lambda: text_of(page, "#banner-title") == "Rank 1 is slower than the others.", what="the banner")
    assert text_of(page, "#banner-command") == "leitstand ranks --stack 1"


def test_a_finished_run_says_how_long_it_took_its_best_record_and_how_to_train_on(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    write_checkpoint(root, LAST_STEP, "latest", "best")

    living.events.add(RUN_ID, LAST_STEP, "checkpoint", {"checkpoint": f"step_{LAST_STEP:07d}"})
    living.runs.update(RUN_ID, state=RunState.FINISHED)

    eventually(lambda: "finished: 4,200 steps" in text_of(page, "#banner-title"), what="the banner")
    eventually(lambda: "Its checkpoint is step_0004200." in text_of(page, "#banner-text"), what="the checkpoint")
    assert "It took 14 min 21 s. The best record is Statistik_4200.json, quality 0.6977." in text_of(
        page, "#banner-text"
    )
    assert text_of(page, "#banner-command") == "leitstand up --set MAX_STEPS=40000"


def test_a_stopped_run_says_how_to_go_on(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.runs.update(RUN_ID, state=RunState.STOPPED, reason="SIGTERM came")

    eventually(lambda: "stopped at step 4,200" in text_of(page, "#banner-title"), what="the banner")
    assert text_of(page, "#banner-text") == "SIGTERM came"
    assert text_of(page, "#banner-command") == "leitstand up"


def test_a_lost_api_is_named_and_found_again(
    serving: Serving, root: Path, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    with serving(root) as server:
        browser.get(server.url)
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running")
        eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(20)
        eventually(lambda: "does not answer" in text_of(browser, "#banner-title"), what="the alarm")
        eventually(lambda: " s old" in text_of(browser, "#banner-text"), what="the age of the data")
        assert text_of(browser, "#banner-command") == "leitstand serve"
        assert text_of(browser, "#badge") == "Unknown"
        assert text_of(browser, "#since") == "was running"
        assert text_of(browser, "#finish") == ""
        assert text_of(browser, "#step") == "4,200"
    complaints(browser)  # of an answer that broke off, too
    with serving(root, at_port=server.port):
        eventually(lambda: text_of(browser, "#badge") == "Running", what="the badge Running again")
        eventually(lambda: not is_shown(browser, "#banner"), what="no banner")
        browser.get("about:blank")


def test_before_the_first_run_the_page_says_how_to_start_one(
    root: Path, serving: Serving, browser: Chrome, eventually: Eventually
) -> None:
    # A server of its own: one that has seen a run keeps it in sight when its directory is gone.
    with serving(root) as server, showing(browser, server):
        eventually(lambda: text_of(browser, "#banner-command") == "leitstand up", what="the command")
        assert text_of(browser, "#badge") == "No run"
        assert not is_shown(browser, "main"), "there is nothing to show yet"

        store = write_run(root, last_step=0, state=RunState.STARTING)
        eventually(lambda: text_of(browser, "#badge") == "Starting", what="the badge Starting")
        eventually(lambda: "is starting" in text_of(browser, "#banner-title"), what="the banner")
        store.close()


def test_alerts_stand_above_everything_while_they_last(page: Chrome, living: Store, eventually: Eventually) -> None:
    assert not is_shown(page, "#alerts")

    living.events.add(RUN_ID, LAST_STEP, "checkpoint failed", {"checkpoint": "step_0004200", "reason": "no space left"})

    eventually(lambda: "no space left" in text_of(page, "#alerts"), what="the alert")
    assert text_of(page, "#alerts-button") == "1 alert"
    eventually(lambda: is_shown(page, "#alerts"), what="the alert above everything")


def test_an_alert_that_the_banner_tells_of_is_counted_but_not_told_twice(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    living.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left", step=LAST_STEP + 1)

    eventually(lambda: text_of(page, "#alerts-button") == "1 alert", what="the count")
    eventually(lambda: "no space left" in text_of(page, "#banner-text"), what="the banner")
    eventually(lambda: not is_shown(page, "#alerts"), what="no alert beside the banner")


def test_without_a_trainer_there_are_no_buttons_and_no_time_that_is_left(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    write_checkpoint(root, LAST_STEP)
    living.events.add(RUN_ID, LAST_STEP, "checkpoint", {"checkpoint": f"step_{LAST_STEP:07d}"})
    eventually(lambda: is_shown(page, "#records .control"), what="the way back of a living run")

    living.runs.update(RUN_ID, state=RunState.STOPPED)

    eventually(lambda: is_shown(page, "#no-trainer"), what="the sentence")
    assert [name for name in ("#validate", "#stop", "#why", "#records .control") if is_shown(page, name)] == []
    assert text_of(page, "#eta") == "–"
    living.runs.update(RUN_ID, state=RunState.RUNNING)
    eventually(lambda: is_shown(page, "#validate"), what="the buttons of a run that goes on")


# What is asked for while a person may need it


def test_a_hidden_page_asks_nothing(page: Chrome, living: Store, eventually: Eventually) -> None:
    hide = """
        Object.defineProperty(document, "hidden", {value: arguments[0], configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    """
    page.execute_script(hide, True)
    page.execute_async_script("setTimeout(arguments[0], 300)")
    before = page.execute_script("return performance.getEntriesByType('resource').length")
    living.runs.update(RUN_ID, step=LAST_STEP + 7)
    page.execute_async_script("setTimeout(arguments[0], 2500)")

    assert page.execute_script("return performance.getEntriesByType('resource').length") == before
    assert text_of(page, "#step") == "4,200"
    page.execute_script(hide, False)
    eventually(lambda: text_of(page, "#step") == "4,207", what="the step of now")


@pytest.mark.parametrize("width", [2560, 1280, 820, 390])
def test_nothing_sticks_out_at_any_width(page: Chrome, living: Store, width: int, eventually: Eventually) -> None:
    wide = RankRow(0, time.time(), "a-host-with-a-long-name", 4711, "cuda:0", "all-reduce", 512, 61.5, None, None)
    living.ranks.replace(RUN_ID, [wide])
    living.runs.update(RUN_ID, step=LAST_STEP + 1)
    eventually(lambda: "all-reduce" in str(texts_of(page, "#ranks td")), what="the wide table")
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.execute_async_script("setTimeout(arguments[0], 300)")
        overhang = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
        assert page.execute_script(overhang) == 0
        assert count_pixels(page, "#quality-plot", "ki") > 100
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_ranks_show_their_stage_and_their_stack(page: Chrome, living: Store, eventually: Eventually) -> None:
    waiting = RankRow(0, time.time(), "gpu-07", 4711, "cuda:0", "all-reduce", 512, 61.5, None, None)
    stack = '  File "ddp/step/stepper.py", line 60, in make_step'
    hanging = replace(waiting, rank=1, stage="data", stack=stack, stacked_at=time.time())
    living.ranks.replace(RUN_ID, [waiting, hanging])
    living.runs.update(RUN_ID, step=LAST_STEP + 1)

    def stages() -> list[str]:
        return texts_of(page, "#ranks tr td:nth-child(3)")

    wanted = ["all-reduce · 512 · 1 min", "data · 512 · 1 min"]
    eventually(
        lambda: [text[: len(start)] for text, start in zip(stages(), wanted, strict=True)] == wanted, what="both"
    )
    page.execute_script("document.querySelector('#ranks tr button').click()")

    eventually(lambda: "in make_step" in text_of(page, "#stack-text"), what="the stack")
    assert text_of(page, "#stack-title") == "Rank 1: where it is now"


def test_the_log_is_fetched_once_it_is_opened(page: Chrome, root: Path, living: Store, eventually: Eventually) -> None:
    (root / "training.log").write_text("a first line\n<b>a last line</b>\n")
    assert text_of(page, "#log") == ""

    page.find_element(By.CSS_SELECTOR, "#log-card summary").click()

    eventually(lambda: text_of(page, "#log").strip().endswith("<b>a last line</b>"), what="the log")


def test_of_an_open_log_only_new_lines_are_fetched_and_none_is_missed(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    log = root / "training.log"
    log.write_text("line 0\n")
    with holding(page, "/logs"):
        page.find_element(By.CSS_SELECTOR, "#log-card summary").click()
        eventually(lambda: held(page) == 1, what="the first request")
        forget_requests(page)
        living.runs.update(RUN_ID, step=LAST_STEP + 1)  # a state while the log is being fetched
        eventually(lambda: "/ranks" in requested(page), what="what the page asks for at a state")
        page.execute_async_script("setTimeout(arguments[0], 500)")
        assert held(page) == 1
    eventually(lambda: text_of(page, "#log").strip() == "line 0", what="the log")
    for number in range(1, 6):
        with log.open("a") as file:
            file.write(f"line {number}\n")
        living.runs.update(RUN_ID, step=LAST_STEP + 1 + number)

    lines = [f"line {number}" for number in range(6)]
    eventually(lambda: text_of(page, "#log").split("\n")[:-1] == lines, what="each line once")
    first, *others = [path for path in requested(page) if path.startswith("/logs")]
    assert "after=" not in first
    assert others
    assert all("&after=" in path for path in others)

    log.unlink()
    log.write_text("another log\n")
    living.runs.update(RUN_ID, step=LAST_STEP + 10)
    eventually(lambda: text_of(page, "#log").strip() == "another log", what="the other log alone")


def test_an_open_log_stays_as_it_is_while_the_api_does_not_answer(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    (root / "training.log").write_text("a first line\n")
    page.find_element(By.CSS_SELECTOR, "#log-card summary").click()
    eventually(lambda: text_of(page, "#log").strip() == "a first line", what="the log")
    with (root / "training.log").open("a") as file:
        file.write("a second line\n")
    with failing(page, "/logs"):
        living.runs.update(RUN_ID, step=LAST_STEP + 1)
        eventually(lambda: failed(page) > 0, what="a request without an answer")
        assert text_of(page, "#log").strip() == "a first line"
    forget_requests(page)

    living.runs.update(RUN_ID, step=LAST_STEP + 2)

    eventually(lambda: text_of(page, "#log").split("\n")[:2] == ["a first line", "a second line"], what="both lines")
    assert all("&after=" in path for path in requested(page) if path.startswith("/logs"))


# What a run is called


def test_name_and_note_of_the_run_are_edited_beside_its_name(
    own_page: Chrome, living: Store, eventually: Eventually
) -> None:
    own_page.find_element(By.CSS_SELECTOR, "#edit-place button").click()
    set_field(own_page, "#edit-name", "<b>night</b> run")
    set_field(own_page, "#edit-note", "twice the blocks")
    click(own_page, "edit-save")

    eventually(lambda: text_of(own_page, "#run-name") == "<b>night</b> run", what="the name")
    assert text_of(own_page, "#run-note") == "twice the blocks"
    run = living.runs.get(RUN_ID)
    assert run is not None
    assert (run.name, run.note) == ("<b>night</b> run", "twice the blocks")

    living.runs.describe(RUN_ID, {"note": None}, actor="eva", source="cli")
    eventually(lambda: not is_shown(own_page, "#run-note"), what="the note that another person took away")


def test_what_is_wrong_with_a_name_is_said_in_the_dialog(own_page: Chrome, eventually: Eventually) -> None:
    own_page.find_element(By.CSS_SELECTOR, "#edit-place button").click()
    own_page.execute_script("document.getElementById('edit-name').value = 'a\\u0007'")
    click(own_page, "edit-save")

    eventually(lambda: "cannot be printed" in text_of(own_page, "#edit-problem"), what="the refusal")
    assert is_shown(own_page, "#edit-dialog")


def test_a_run_is_renamed_in_the_list_of_runs(own_page: Chrome, eventually: Eventually) -> None:
    click(own_page, "run-button")
    eventually(lambda: own_page.find_elements(By.CSS_SELECTOR, "#runs-list button"), what="the pencil")
    own_page.find_element(By.CSS_SELECTOR, "#runs-list button").click()
    set_field(own_page, "#edit-name", "from the list")
    click(own_page, "edit-save")

    eventually(lambda: "from the list" in text_of(own_page, "#runs-list a"), what="the new name")
    assert text_of(own_page, "#run-name") == "from the list"


# What the time went to, and what went wrong


def tell_ledger(store: Store) -> None:
    """Tell of a run of a bit over two hours: a rank was killed, a person went back, the trainer was down."""
    began_at = time.time() - 8000
    first = TimeSpent(began_at, began_at + 5000, 3600, began_at + 12, {**NOTHING, **dict(SPENT)})
    killed = {"rank": 1, "pid": 77, "how": "was ended by SIGKILL", "detected_at": began_at + 5001.0}
    previous = {
        "state": "running", "reason": None, "step": 3600, "heartbeat_at": began_at + 5000, "started_at": began_at,
        "time_spent": first.as_dict(),
    }  # fmt: skip
    restarted: dict[str, Any] = {"began_at": began_at + 5010, "restarts": 1, "failure": killed, "previous": previous}
    store.events.add(RUN_ID, 0, "registered", {"began_at": began_at, "restarts": 0, "previous": None})
    store.events.add(RUN_ID, 0, "started", {"step": 0, "world_size": 2})
    store.events.add(RUN_ID, 3600, "registered", restarted)
    store.events.add(RUN_ID, 3600, "started", {"step": 3600, "world_size": 2})
    recovered = {**killed, "training_at": began_at + 5013.5, "source": "rank 0", "steps_lost": 0}
    store.events.add(RUN_ID, 3601, "recovered", {**recovered, "reason": "Rank 1 was ended by SIGKILL."})
    rolled = {"from_step": 4200, "checkpoint": "step_0004000", "reason": "a person asked for it"}
    store.events.add(RUN_ID, 4000, "rollback", rolled)
    seconds = {**NOTHING, Activity.STARTING: 3.5, Activity.TRAINING: 1996.5}
    last = TimeSpent(restarted["began_at"], began_at + 7010, 4000, began_at + 5013.5, seconds)
    store.runs.update(RUN_ID, facts={"time_spent": last.as_dict()}, step=4201)


NOTHING = dict.fromkeys(Activity, 0.0)
SPENT = {
    Activity.STARTING: 12.0, Activity.TRAINING: 4488.0, Activity.VALIDATING: 300.0, Activity.SAVING: 20.0,
    Activity.PAUSED: 180.0,
}  # fmt: skip


def test_what_the_time_went_to_and_the_incidents_are_told_while_the_run_goes_on(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    tell_ledger(living)

    eventually(lambda: "2 incidents, 200 steps lost" in text_of(page, "#ledger-note"), what="the note")
    share = living.ledgers.of(living.runs.all()[0], time.time()).useful_time_ratio
    assert share is not None
    assert text_of(page, "#useful") == f"{100 * share:.1f} %"
    page.execute_script("document.getElementById('ledger-card').open = true")
    uses = dict(zip(texts_of(page, "#time-uses dt"), texts_of(page, "#time-uses dd"), strict=True))
    assert uses["Validating"] == "4.3 % · 5 min 0 s"
    assert uses["Paused"] == "2.6 % · 3 min 0 s"
    assert "Stalled" not in uses
    rows = [row.text for row in page.find_elements(By.CSS_SELECTOR, "#incidents tr")]
    assert "Rollback from step_0004000" in rows[0]
    assert rows[0].endswith("200 a person")
    assert "Rank killed (rank 1) from the state of rank 0, after 13 s 0 launcher: Rank 1 (process 77)" in rows[1]


def test_the_card_of_an_end_says_how_much_of_the_time_was_useful(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    tell_ledger(living)

    living.runs.update(RUN_ID, state=RunState.FINISHED)

    eventually(lambda: "finished" in text_of(page, "#banner-title"), what="the banner")
    assert text_of(page, "#banner-more").startswith("Useful time: ")
    assert "of 1 h 56 min (" in text_of(page, "#banner-more")
    assert "Validating 4 %" in text_of(page, "#banner-more")
    assert text_of(page, "#banner-more").endswith("). 2 incidents, 200 steps lost.")


def test_what_is_not_known_is_not_called_zero(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.events.add(RUN_ID, 0, "started", {"step": 0, "world_size": 2})  # as an earlier version told it
    living.runs.update(RUN_ID, step=LAST_STEP + 1)

    eventually(lambda: text_of(page, "#useful") == "not known", what="the share")
    page.execute_script("document.getElementById('ledger-card').open = true")
    assert texts_of(page, "#time-uses dt") == ["Not known"]
    living.runs.update(RUN_ID, state=RunState.FINISHED)
    eventually(lambda: "finished" in text_of(page, "#banner-title"), what="the banner")
    assert not is_shown(page, "#banner-more")
