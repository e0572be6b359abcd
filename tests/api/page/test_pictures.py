"""The card of validation pictures in a real browser, against a real server."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from service.atomic_files import write_atomically
from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.browsing import text_of
from tests.api.harness.dashboard import click, holding, requested
from tests.api.harness.example_run import RECORD_STEPS, example_record, save_record, write_run
from tests.api.harness.serving import Server

Eventually = Callable[..., None]
COLOURS = {"LR": (200, 0, 0), "KI": (0, 200, 0), "GT": (0, 180, 40)}
STEPS = RECORD_STEPS[-3:]
PIXEL = """
const canvas = document.getElementById("picture");
const pixel = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
const probe = pixel.getContext("2d", {willReadFrequently: true});
probe.drawImage(canvas, Math.floor(arguments[0] * canvas.width), Math.floor(canvas.height / 2), 1, 1, 0, 0, 1, 1);
return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
"""
SET = """
const input = document.getElementById(arguments[0]);
input.value = arguments[1];
input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input"));
"""


def save_pictures(root: Path, step: int, name: str = "bikes", blue: int = 0) -> None:
    """A preview of one validation image: LR, KI and GT side by side, each of one colour."""
    image = Image.new("RGB", (90, 20))
    for number, (red, green, _) in enumerate(COLOURS.values()):
        image.paste((red, green, blue), (30 * number, 0, 30 * (number + 1), 20))
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=True)
    folder = root / "previews" / f"step_{step}"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.webp", content.getvalue())


@pytest.fixture
def living(root: Path) -> Iterator[Store]:
    store = write_run(root)
    keep_alive(store)
    for step in STEPS:
        save_pictures(root, step)
    yield store
    store.close()


@pytest.fixture
def page(server: Server, living: Store, browser: Chrome, eventually: Eventually) -> Iterator[Chrome]:
    """The page with a picture on it."""
    yield from showing(browser, server, eventually)


def showing(browser: Chrome, server: Server, eventually: Eventually) -> Iterator[Chrome]:
    browser.get(server.url)
    eventually(lambda: "newest" in text_of(browser, "#picture-at"), what="the newest picture")
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#loss-plot .u-over"), what="the curve")
    yield browser
    browser.get("about:blank")


def colour(browser: Chrome, share: float) -> tuple[int, int, int]:
    red, green, blue = browser.execute_script(PIXEL, share)
    return red, green, blue


def is_like(found: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) <= 6 for one, other in zip(found, wanted, strict=True))


def test_the_newest_picture_is_shown_with_lr_left_and_ki_right_of_the_wipe(page: Chrome) -> None:
    assert is_like(colour(page, 0.45), COLOURS["LR"])
    assert is_like(colour(page, 0.55), (0, 200, 0))
    assert "30 × 20 pixels" in text_of(page, "#picture-note")
    assert page.find_element(By.ID, "picture").get_attribute("aria-label") == (
        f"LR and KI of bikes.webp at step {STEPS[-1]:,}"
    )


def test_the_wipe_moves_the_border(page: Chrome) -> None:
    page.execute_script(SET, "picture-wipe", "70")

    assert is_like(colour(page, 0.6), COLOURS["LR"])
    assert is_like(colour(page, 0.72), (0, 200, 0))


def test_a_difference_is_shown_brighter_than_it_is(page: Chrome, eventually: Eventually) -> None:
    page.execute_script(SET, "picture-mode", "difference")

    eventually(lambda: is_like(colour(page, 0.5), (0, 80, 0)), what="|KI − GT| × 4")


def test_the_slider_shows_an_earlier_step_and_stays_there_when_new_ones_come(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    page.execute_script(SET, "picture-step", "0")
    eventually(lambda: text_of(page, "#picture-at") == f"Step {STEPS[0]:,}", what="the first step")
    assert page.execute_script("return document.querySelector('#loss-plot .u-cursor-x').style.transform") != ""

    save_pictures(root, STEPS[-1] + 100, blue=120)
    save_record(root, living, example_record(STEPS[-1] + 100, time.time()))
    eventually(
        lambda: page.find_element(By.ID, "picture-step").get_attribute("max") == str(len(STEPS)), what="a new picture"
    )

    assert text_of(page, "#picture-at") == f"Step {STEPS[0]:,}"


def test_a_picture_that_is_gone_is_said_and_ends_nothing(page: Chrome, root: Path, eventually: Eventually) -> None:
    (root / "previews" / f"step_{STEPS[0]}" / "bikes.webp").unlink()

    page.execute_script(SET, "picture-step", "0")

    eventually(lambda: "There is no preview" in text_of(page, "#picture-note"), what="the reason")
    page.execute_script(SET, "picture-step", "1")
    eventually(lambda: "pixels" in text_of(page, "#picture-note"), what="the other picture")


def test_the_best_picture_stands_beside_the_one_of_now(
    page: Chrome, root: Path, living: Store, eventually: Eventually
) -> None:
    best, newest = STEPS[-1], STEPS[-1] + 100
    save_pictures(root, newest, blue=120)
    save_record(root, living, example_record(newest, time.time(), quality_ki_value=0.5))
    eventually(lambda: text_of(page, "#picture-at") == f"Step {newest:,} (newest)", what="the newest step")

    page.execute_script(SET, "picture-mode", "best")

    eventually(lambda: text_of(page, "#picture-labels").split("\n")[0] == f"KI, best: {best:,}", what="the labels")
    assert is_like(colour(page, 0.45), COLOURS["KI"])
    assert is_like(colour(page, 0.55), (0, 200, 120))


def test_all_three_are_shown_in_a_row_with_one_zoom(page: Chrome, eventually: Eventually) -> None:
    page.execute_script(SET, "picture-mode", "side")
    eventually(lambda: text_of(page, "#picture-labels").split() == ["LR", "KI", "GT"], what="the labels")

    for share, name in ((0.2, "LR"), (0.5, "KI"), (0.8, "GT")):
        assert is_like(colour(page, share), (*COLOURS[name][:2], 0)), name
    click(page, "picture-pixels")
    assert "shown at 100 %" in text_of(page, "#picture-note")


def test_a_loupe_follows_the_pointer(page: Chrome, eventually: Eventually) -> None:
    picture = page.find_element(By.ID, "picture")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    before = colour(page, 0.47)
    assert is_like(before, COLOURS["LR"])

    click(page, "picture-loupe")
    ActionChains(page).move_to_element_with_offset(picture, 30, 0).perform()

    # Left of the wipe, inside the glass: what is right of it, four times as large.
    eventually(lambda: is_like(colour(page, 0.52), (0, 200, 0)), what="the picture under the glass")
    assert page.find_element(By.ID, "picture-loupe").get_attribute("aria-pressed") == "true"


def test_the_arrow_keys_go_through_the_steps(page: Chrome, eventually: Eventually) -> None:
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_LEFT)

    eventually(lambda: text_of(page, "#picture-at") == f"Step {STEPS[-2]:,}", what="the step before")
    assert f"step={STEPS[-2]}" in page.current_url


def test_the_picture_that_a_key_would_show_next_is_there_already(page: Chrome, eventually: Eventually) -> None:
    def fetched() -> list[str]:
        return [path for path in requested(page) if path.endswith(".webp")]

    eventually(lambda: f"/previews/{STEPS[-2]}/bikes.webp" in fetched(), what="the picture before the newest")
    assert f"/previews/{STEPS[0]}/bikes.webp" not in fetched()
    with holding(page, ".webp"):
        page.execute_script(SET, "picture-step", "1")

        eventually(lambda: text_of(page, "#picture-at") == f"Step {STEPS[1]:,}", what="the earlier picture")
    eventually(lambda: f"/previews/{STEPS[0]}/bikes.webp" in fetched(), what="the picture before that one")
    assert len(fetched()) == len(set(fetched())) == len(STEPS)
