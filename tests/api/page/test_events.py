"""The list of what happened, in a real browser."""

from collections.abc import Callable

from selenium.webdriver import Chrome

from service.store.store import Store
from tests.api.harness.dashboard import click, set_field, texts_of
from tests.api.harness.example_run import RUN_ID

Eventually = Callable[..., None]


def event_texts(browser: Chrome) -> list[str]:
    return texts_of(browser, "#events .event-text, #events .empty")


def test_what_happened_is_told_in_sentences_newest_first(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.events.add(RUN_ID, 4250, "rollback", {"checkpoint": "step_0004000", "reason": "a person asked for it"})
    living.events.add(RUN_ID, 4251, "set", {"LR_SCALE": 0.5})

    eventually(lambda: "Changed LR_SCALE 0.5" in event_texts(page)[:1], what="the newest entry")

    assert event_texts(page)[1] == "Rolled back to step_0004000: a person asked for it"
    set_field(page, "#events-kind", "trouble")
    eventually(lambda: event_texts(page) == ["Nothing of this kind yet."], what="only trouble")


def test_the_controllers_changes_are_told_with_both_modes(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.events.add(RUN_ID, 4250, "mode", {"before": "Stable", "after": "Panic", "reason": "the loss rose"})

    eventually(lambda: "Controller: Stable → Panic: the loss rose" in event_texts(page), what="the sentence")


def test_older_entries_are_fetched_on_request(page: Chrome, living: Store, eventually: Eventually) -> None:
    for number in range(90):
        living.events.add(RUN_ID, 4300 + number, "weights", {"number": number})
    eventually(lambda: "Weights: number 89" in event_texts(page), what="the newest")
    page.refresh()
    eventually(lambda: "Weights: number 89" in event_texts(page), what="the first page")
    assert "Weights: number 0" not in event_texts(page)

    click(page, "events-more")

    eventually(lambda: "Weights: number 0" in event_texts(page), what="the second page")
    told = [text for text in event_texts(page) if text.startswith("Weights")]
    assert told == [f"Weights: number {number}" for number in reversed(range(90))]


def test_a_word_finds_entries(page: Chrome, living: Store, eventually: Eventually) -> None:
    living.events.add(RUN_ID, 4250, "set", {"LR_SCALE": 0.5})
    living.events.add(RUN_ID, 4251, "set", {"MAX_LR": 0.001})
    eventually(lambda: "Changed MAX_LR 0.001" in event_texts(page), what="both")

    set_field(page, "#events-find", "lr_scale")

    assert event_texts(page) == ["Changed LR_SCALE 0.5"]
