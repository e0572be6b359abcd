"""The curves in a real browser: drawn as they are, and shown as a person chose."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from service.store.store import SeriesRow, Store
from tests.api.harness.browsing import count_pixels, text_of
from tests.api.harness.dashboard import click, delayed, held, is_shown, requested, set_field, showing, texts_of
from tests.api.harness.example_run import LAST_STEP, RECORD_STEPS, RUN_ID
from tests.api.harness.serving import Server

Eventually = Callable[..., None]

MODULE = """
const [path, call, ...given] = arguments;
const done = given.pop();
const main = document.querySelector("script[type=module]").src;
import(new URL(path, main)).then((module) => module[call](...given)).then(done, (error) => done(String(error)));
"""
HISTORY = """
const [names, done] = arguments;
const main = document.querySelector("script[type=module]").src;
import(new URL("charts/history.js", main)).then(async ({ History }) => {
  const history = new History();
  history.names = new Set(names);
  await history.update("a");
  done(names.map((name) => history.stretches(name)));
}).catch((error) => done(String(error)));
"""


def test_both_curves_are_drawn_and_the_overtaking_is_said(page: Chrome) -> None:
    assert count_pixels(page, "#loss-plot", "loss") > 200
    assert count_pixels(page, "#loss-plot", "val") > 50
    assert count_pixels(page, "#quality-plot", "ki") > 200
    assert count_pixels(page, "#quality-plot", "lr") > 100
    assert text_of(page, "#verdict") == "KI is ahead of LR by 0.0565, since the validation at step 2,100."
    label = page.find_element(By.ID, "quality-plot").get_attribute("aria-label")
    assert label == "Quality over steps, latest: KI 0.6977, LR 0.6412"


def test_a_sentence_says_whether_the_quality_still_gains_and_where_it_was_best(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    assert text_of(page, "#gain") == "+0.1140 over the last 5 validations; the newest is the best."

    worse = {"quality_ki_value": 0.69, "quality_lr_value": 0.6412}
    living.series.add(RUN_ID, [SeriesRow(4900, time.time(), worse)])

    wanted = "+0.0517 over the last 5 validations; best at step 4,200."
    eventually(lambda: text_of(page, "#gain") == wanted, what="the sentence")


UNANSWERED = """
const done = arguments[0], plain = window.fetch;
const main = document.querySelector("script[type=module]").src;
import(new URL("charts/history.js", main)).then(async ({ History }) => {
  const history = new History();
  const without = async (call) => {
    window.fetch = () => Promise.reject(new TypeError());
    await call().catch(() => {});
    window.fetch = plain;
  };
  await without(() => history.update("a"));
  history.add(9000, { total_loss_value: 1 });
  await history.update("a");
  const counts = [history.stretches("total_loss_value").length];
  history.curves.set("quality_ki_value", history.stretches("quality_ki_value").slice(0, 2));
  await without(() => history.refresh(700));
  await history.update("a");
  done([...counts, history.stretches("quality_ki_value").length]);
}).catch((error) => done(String(error)));
"""


def test_what_could_not_be_fetched_is_fetched_later_though_log_points_came_since(page: Chrome) -> None:
    assert page.execute_async_script(UNANSWERED) == [LAST_STEP // 100 + 1, len(RECORD_STEPS)]


def test_a_long_history_keeps_its_spikes_and_its_end(server: Server, living: Store, browser: Chrome) -> None:
    first, count = LAST_STEP + 1, 12_000
    losses = {step: 0.02 + 1e-6 * (step % 7) for step in range(first, first + count)}
    losses[first + 7000] = 5.0
    living.series.add(
        RUN_ID, [SeriesRow(step, time.time(), {"total_loss_value": loss}) for step, loss in losses.items()]
    )
    living.runs.update(RUN_ID, step=first + count - 1)
    with showing(browser, server):
        (curve,) = browser.execute_async_script(HISTORY, ["total_loss_value"])

    assert max(stretch["high"] for stretch in curve) == 5.0
    assert [stretch["step"] for stretch in curve] == sorted(stretch["step"] for stretch in curve)
    assert all(one["last"] < other["step"] for one, other in pairwise(curve))
    assert len(curve) < count / 2
    assert curve[-1]["last"] == first + count - 1
    assert curve[-1]["count"] == 1, "the latest value is shown as a number"
    assert sum(stretch["count"] for stretch in curve) == count + LAST_STEP // 100


def test_smoothing_weighs_every_point_of_a_stretch(page: Chrome) -> None:
    def smoothed(*stretches: tuple[float, int]) -> list[float]:
        given = [{"mean": mean, "count": count} for mean, count in stretches]
        return list(page.execute_async_script(MODULE, "charts/columns.js", "smoothed", given, 3))

    assert smoothed((4.0, 1), (1.0, 1)) == pytest.approx([4.0, 2.0])
    assert smoothed((4.0, 2), (1.0, 2))[-1] == pytest.approx(smoothed((4.0, 1), (4.0, 1), (1.0, 1), (1.0, 1))[-1])


def test_few_points_are_smoothed_little(page: Chrome) -> None:
    def over(count: int) -> int:
        stretches = [{"count": 1}] * count
        return int(page.execute_async_script(MODULE, "charts/columns.js", "smoothingOf", stretches, 50))

    assert [over(count) for count in (7, 80, 4000)] == [1, 10, 50]


def test_a_smoothed_curve_has_the_true_values_behind_it(page: Chrome, living: Store, eventually: Eventually) -> None:
    rows = [SeriesRow(LAST_STEP + n, time.time(), {"total_loss_value": 0.03 + 0.02 * (n % 2)}) for n in range(1, 300)]
    living.series.add(RUN_ID, rows)
    eventually(lambda: text_of(page, "#loss-keys b") == "0.05000", what="the last point")
    before = count_pixels(page, "#loss-plot", "loss")

    set_field(page, "#view-smoothing", "50")

    assert 50 < count_pixels(page, "#loss-plot", "loss") < before / 2, "one calm line instead of a ribbon"
    assert "smooth=50" in page.current_url


def test_many_log_points_at_once_are_drawn_a_few_times(page: Chrome, living: Store, eventually: Eventually) -> None:
    page.execute_script("""
        window.drawn = 0;
        const { clearRect } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.clearRect = function (...given) {
          window.drawn += 1;
          return clearRect.apply(this, given);
        };
    """)
    rows = [SeriesRow(LAST_STEP + n, time.time(), {"total_loss_value": 0.03}) for n in range(1, 1500)]
    living.series.add(RUN_ID, [*rows, SeriesRow(LAST_STEP + 1500, time.time(), {"total_loss_value": 0.75})])

    eventually(lambda: text_of(page, "#loss-keys b") == "0.7500", what="the last point")
    assert page.execute_script("return window.drawn") < 300


# What is shown


def drag(page: Chrome, by: int = 120) -> None:
    over = page.find_element(By.CSS_SELECTOR, "#loss-plot .u-over")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    chain = ActionChains(page).move_to_element_with_offset(over, -80, 0).click_and_hold()
    chain.move_by_offset(by // 2, 0).move_by_offset(by // 2, 5).release().perform()
    leave_curves(page)


def leave_curves(page: Chrome) -> None:
    """Point at something else, so that the legends show the latest values."""
    ActionChains(page).move_to_element(page.find_element(By.ID, "badge")).perform()


def shown_steps(page: Chrome) -> list[str]:
    """Steps of the table of what the curves show, newest first."""
    click(page, "view-table")
    steps = texts_of(page, "#table th")
    click(page, "table-close")
    leave_curves(page)
    return steps


def test_a_zoom_survives_what_comes_later_until_all_is_asked_for(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    drag(page)
    eventually(lambda: "frozen" in text_of(page, "#view-text"), what="the frozen view")
    assert "step=" not in page.current_url, "a drag is no click"
    shown, steps = text_of(page, "#view-text"), shown_steps(page)

    living.series.add(RUN_ID, [SeriesRow(LAST_STEP + 50, time.time(), {"total_loss_value": 0.5})])
    living.runs.update(RUN_ID, step=LAST_STEP + 50)
    eventually(lambda: text_of(page, "#step") == "4,250", what="the new step")
    eventually(lambda: text_of(page, "#loss-keys b") == "0.5000", what="the new point")

    assert text_of(page, "#view-text") == shown
    assert shown_steps(page) == steps
    click(page, "view-all")
    assert text_of(page, "#view-text") == "All steps."
    assert shown_steps(page)[0] == "4,250"


def test_a_view_that_follows_moves_on_with_the_same_width(page: Chrome, living: Store, eventually: Eventually) -> None:
    click(page, "view-following")
    assert text_of(page, "#view-text") == "The last 820 steps."
    assert shown_steps(page)[-1] == "3,400"

    living.series.add(RUN_ID, [SeriesRow(LAST_STEP + 100, time.time(), {"total_loss_value": 0.5})])
    eventually(lambda: text_of(page, "#loss-keys b") == "0.5000", what="the new point")

    assert text_of(page, "#view-text") == "The last 820 steps."
    assert shown_steps(page)[0] == "4,300"
    assert shown_steps(page)[-1] == "3,500"


def test_a_link_shares_the_view(page: Chrome, server: Server, eventually: Eventually) -> None:
    drag(page)
    set_field(page, "#view-axis", "relative")
    set_field(page, "#view-log", True)
    set_field(page, "#view-smoothing", "10")
    shared, words = page.current_url, text_of(page, "#view-text")

    page.get("about:blank")
    page.get(f"{shared}&series=grad_norm")

    eventually(lambda: text_of(page, "#view-text") == words, what="the same range")
    assert page.find_element(By.ID, "view-log").is_selected()
    assert page.find_element(By.ID, "view-axis").get_attribute("value") == "relative"
    assert page.find_element(By.ID, "view-smoothing").get_attribute("value") == "10"
    eventually(lambda: count_pixels(page, "[data-series=grad_norm]", "loss") > 20, what="the other curve")


@pytest.mark.parametrize("address", ["/#from=9&to=1&x=wrong&smooth=7&series=<b>,%00&step=-1", "/#series=no_such_value"])
def test_an_address_that_makes_no_sense_shows_everything(
    server: Server, living: Store, browser: Chrome, eventually: Eventually, address: str
) -> None:
    with showing(browser, server, address):
        eventually(lambda: count_pixels(browser, "#quality-plot", "ki") > 0, what="the drawn curve")
        assert text_of(browser, "#view-text") == "All steps."
        eventually(lambda: texts_of(browser, "#more-charts h2") == [], what="no chart")


def test_every_other_value_can_be_chosen(page: Chrome, living: Store, eventually: Eventually) -> None:
    page.find_element(By.CSS_SELECTOR, "#series-card summary").click()
    eventually(lambda: "Grad norm" in texts_of(page, "#series-list span"), what="the list")
    set_field(page, "#series-filter", "grad_norm")
    (item,) = [item for item in page.find_elements(By.CSS_SELECTOR, "#series-list li") if item.is_displayed()]
    item.find_element(By.TAG_NAME, "input").click()

    eventually(lambda: count_pixels(page, "[data-series=grad_norm]", "loss") > 100, what="the curve")
    assert "series=grad_norm" in page.current_url
    living.series.add(RUN_ID, [SeriesRow(LAST_STEP + 100, time.time(), {"grad_norm": 3.25})])
    eventually(lambda: texts_of(page, "[data-series=grad_norm] b") == ["3.250"], what="the new point")
    page.find_element(By.CSS_SELECTOR, "[data-series=grad_norm] button").click()
    assert texts_of(page, "#more-charts h2") == []


def test_a_point_that_comes_while_a_new_chart_is_fetched_is_on_it(
    page: Chrome, living: Store, eventually: Eventually
) -> None:
    page.find_element(By.CSS_SELECTOR, "#series-card summary").click()
    eventually(lambda: "Grad norm" in texts_of(page, "#series-list span"), what="the list")
    with delayed(page, "names=grad_norm"):
        set_field(page, "#series-list input[value=grad_norm]", True)
        eventually(lambda: held(page) == 1, what="the answer of the API")
        living.series.add(
            RUN_ID, [SeriesRow(LAST_STEP + 100, time.time(), {"grad_norm": 3.25, "total_loss_value": 0.5})]
        )
        eventually(lambda: text_of(page, "#loss-keys b") == "0.5000", what="the point on the charts that are there")

    eventually(lambda: count_pixels(page, "[data-series=grad_norm]", "loss") > 100, what="the curve")
    assert texts_of(page, "[data-series=grad_norm] b") == ["3.250"]


def test_points_that_come_into_a_range_that_is_looked_at_closely_are_shown(
    server: Server, living: Store, browser: Chrome, eventually: Eventually
) -> None:
    first, count = LAST_STEP + 1, 12_000
    rows = [SeriesRow(step, time.time(), {"total_loss_value": 0.02}) for step in range(first, first + count)]
    living.series.add(RUN_ID, rows)
    living.runs.update(RUN_ID, step=first + count - 1)
    with showing(browser, server, f"/#from={first + count - 500}&to={first + count + 500}"):
        closely = f"from={first + count - 500}&to="
        eventually(lambda: any(closely in path for path in requested(browser)), what="the closer look")
        eventually(lambda: "polling" not in text_of(browser, "#link-text"), what="the stream")
        page_settles(browser)

        living.series.add(RUN_ID, [SeriesRow(first + count + 100, time.time(), {"total_loss_value": 0.5})])

        eventually(lambda: text_of(browser, "#loss-keys b") == "0.5000", what="the new point")


def page_settles(browser: Chrome) -> None:
    browser.execute_async_script("setTimeout(arguments[0], 1000)")


def test_a_logarithm_and_the_time_are_drawn(page: Chrome) -> None:
    for axis in ("time", "relative", "step"):
        set_field(page, "#view-axis", axis)
        assert count_pixels(page, "#loss-plot", "loss") > 200, axis
    set_field(page, "#view-log", True)
    assert count_pixels(page, "#loss-plot", "loss") > 200


# One cursor


def test_one_cursor_shows_step_time_and_the_nearest_value_of_all(page: Chrome, eventually: Eventually) -> None:
    over = page.find_element(By.CSS_SELECTOR, "#loss-plot .u-over")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    ActionChains(page).move_to_element_with_offset(over, 5, 0).perform()

    eventually(lambda: text_of(page, "#cursor-text").startswith("Step 2,"), what="the step")
    assert "after the start" in text_of(page, "#cursor-text")
    values = texts_of(page, ".keys b")
    assert len(values) == 4
    assert not any("–" in value for value in values)
    assert "@ 2,100" in values[0], "the quality is that of the nearest validation"


def test_the_arrow_keys_move_the_cursor_on_a_curve(page: Chrome) -> None:
    plot = page.find_element(By.ID, "loss-plot")
    page.execute_script("arguments[0].focus()", plot)
    plot.send_keys(Keys.ARROW_LEFT)
    plot.send_keys(Keys.ARROW_LEFT)

    assert text_of(page, "#cursor-text").startswith("Step 4,100")
    assert str(plot.get_attribute("aria-valuetext")).startswith("Step 4,100: Training 0.0")
    plot.send_keys(Keys.HOME)
    assert text_of(page, "#cursor-text").startswith("Step 100")
    plot.send_keys(Keys.ESCAPE)
    assert text_of(page, "#cursor-text").startswith("Latest values")


def test_the_table_has_what_the_curves_show(page: Chrome) -> None:
    click(page, "view-table")

    assert texts_of(page, "#table-head th") == [
        "Step",
        "Time",
        "Quality KI",
        "Quality LR",
        "Loss, training",
        "Loss, validation",
    ]
    assert texts_of(page, "#table tr:first-child > *")[0] == "4,200"
    assert texts_of(page, "#table tr:first-child > *")[2] == "0.6977"
    assert len(texts_of(page, "#table tr")) == LAST_STEP // 100


def test_the_controllers_mode_is_a_band_below_the_curves(page: Chrome, living: Store, eventually: Eventually) -> None:
    assert count_band(page, "--bad") == 0

    living.events.add(RUN_ID, 2000, "mode", {"before": "Stable", "after": "Panic", "reason": "the loss rose"})
    eventually(lambda: count_band(page, "--bad") > 100, what="the band")


def count_band(page: Chrome, name: str) -> int:
    """Pixels in the lowest rows of the loss chart that are mostly of this tone."""
    return int(
        page.execute_script(
            """
        const canvas = document.querySelector("#loss-plot canvas");
        const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const probe = document.createElement("canvas").getContext("2d");
        const tone = getComputedStyle(document.documentElement).getPropertyValue(arguments[0]);
        probe.fillStyle = `color-mix(in srgb, ${tone} 60%, transparent)`;
        probe.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = probe.getImageData(0, 0, 1, 1).data;
        let count = 0;
        for (let i = 0; i < data.length; i += 4) {
          const others = [red, green, blue, alpha].map((value, place) => Math.abs(data[i + place] - value));
          if (Math.max(...others) < 8) count += 1;
        }
        return count;
        """,
            name,
        )
    )


def test_the_layers_activity_is_a_map_over_the_records(page: Chrome, eventually: Eventually) -> None:
    assert not any("/statistics/compare" in path for path in requested(page)), "not before somebody looks"
    page.find_element(By.CSS_SELECTOR, "#layers-card summary").click()

    eventually(lambda: len(texts_of(page, "#layers-names li")) == 5, what="the layers")
    assert text_of(page, "#layers-text") == "Steps 700 to 4,200; the strongest colour is 100.0."
    canvas = page.find_element(By.ID, "layers-map")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(page).move_to_element_with_offset(canvas, 0, 0).perform()
    eventually(lambda: text_of(page, "#layers-text").startswith("Forward Block 01 at step"), what="the value")


def test_a_click_on_a_curve_is_kept_in_the_address(page: Chrome, eventually: Eventually) -> None:
    over: Any = page.find_element(By.CSS_SELECTOR, "#loss-plot .u-over")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    ActionChains(page).move_to_element(over).click().perform()

    eventually(lambda: "step=2" in page.current_url, what="the step in the address")
    assert not is_shown(page, "#pictures"), "there are none in this run"
