// Every other value of the run as a chart of its own, chosen from the list of all that have values.

import { ApiError, get } from "../../shared/api.js";
import { byId, element } from "../../shared/elements.js";
import { hasText, t } from "../../shared/texts.js";
import { Chart } from "./chart.js";
import { DRAWN } from "./history.js";

const TONES = ["loss", "val", "ki", "lr", "good", "warn"];
const UNDRAWN = new Set(["step_current", "step_max", "schema_version", "epoch_step_total", "last_update_time"]);

/** A name of a record as words; what it means is in the record's schema. */
export const wordsOf = (name) => (hasText(`series.${name}`) ? t(`series.${name}`) : capital(name.replaceAll("_", " ").replace(/ (value|current|val|avg|num)$/, "")));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export class Chooser {
  constructor(board) {
    this.board = board;
    this.shown = new Map();
    byId("series-card").addEventListener("toggle", () => this.list());
    byId("series-filter").addEventListener("input", () => this.filter());
    board.view.onChange(() => this.follow());
  }

  /** Show the charts that the view names, and no others. */
  async follow() {
    const wanted = this.board.view.series;
    for (const [name, chart] of this.shown) if (!wanted.includes(name)) this.remove(name, chart);
    for (const name of wanted) if (!this.shown.has(name)) this.add(name);
    for (const box of byId("series-list").querySelectorAll("input")) box.checked = wanted.includes(box.value);
    try {
      if (await this.board.history.want(wanted)) this.board.show();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.board.view.set({ series: wanted.filter((name) => this.board.history.curves.has(name)) });
    }
  }

  add(name) {
    const keys = element("ul", "keys");
    const close = element("button", "small", "×");
    close.type = "button";
    close.setAttribute("aria-label", t("series.remove", { name: wordsOf(name) }));
    close.addEventListener("click", () => this.choose(name, false));
    const place = element("div", "plot", element("p", "empty", t("series.empty")));
    const card = element("section", "card chart extra", element("header", "card-head", element("h2", "", wordsOf(name)), keys, close), place);
    card.dataset.series = name;
    byId("more-charts").append(card);
    const tone = TONES[this.shown.size % TONES.length];
    const chart = new Chart(this.board, { title: wordsOf(name), place, keys, series: [{ name, label: "", tone, width: 1.75, points: false }] });
    this.shown.set(name, chart);
    this.board.charts.push(chart);
  }

  remove(name, chart) {
    chart.remove();
    chart.place.closest("section").remove();
    this.shown.delete(name);
    this.board.charts = this.board.charts.filter((other) => other !== chart);
  }

  choose(name, isWanted) {
    const others = this.board.view.series.filter((other) => other !== name);
    this.board.view.set({ series: isWanted ? [...others, name] : others });
  }

  /** Fill the list once it is opened: the names that have values, each with its meaning. */
  async list() {
    if (!byId("series-card").open || byId("series-list").childElementCount) return;
    const [{ names }, meanings] = await Promise.all([get("/series?points=10"), meaningsOf()]);
    byId("series-list").replaceChildren(...names.filter((name) => !DRAWN.includes(name) && !UNDRAWN.has(name)).map((name) => this.item(name, meanings[name])));
    this.filter();
  }

  item(name, meaning) {
    const box = element("input");
    box.type = "checkbox";
    box.value = name;
    box.checked = this.board.view.series.includes(name);
    box.addEventListener("change", () => this.choose(name, box.checked));
    const label = element("label", "", box, element("span", "", wordsOf(name)), element("small", "", meaning ?? ""));
    return element("li", "", label);
  }

  filter() {
    const wanted = byId("series-filter").value.trim().toLowerCase();
    for (const item of byId("series-list").children) item.hidden = !`${item.textContent} ${item.querySelector("input").value}`.toLowerCase().includes(wanted);
  }
}

/** What the keys of a record mean, by name; without the schema the names have to do. */
async function meaningsOf() {
  try {
    const address = new URL(document.body.dataset.root + "schema/statistik.json", document.baseURI);
    const { properties } = await (await fetch(address)).json();
    return Object.fromEntries(Object.entries(properties).map(([name, { description }]) => [name, description]));
  } catch {
    return {};
  }
}
