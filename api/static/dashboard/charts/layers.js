// How active each layer was, record by record: a heat map over steps, fetched once it is opened.

import { ApiError, get } from "../../shared/api.js";
import { byId, element, write } from "../../shared/elements.js";
import { significant, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { color } from "./marks.js";

const MOST_RECORDS = 240;
const ROW = 18;

export class Layers {
  constructor() {
    this.runId = null;
    this.columns = [];
    byId("layers-card").addEventListener("toggle", () => this.update(this.runId));
    byId("layers-map").addEventListener("mousemove", (event) => this.point(event));
    byId("layers-map").addEventListener("mouseleave", () => this.say(null));
    new ResizeObserver(() => this.paint()).observe(byId("layers-map").parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  /** Fetch the activity in the newest records, if it is looked at. */
  async update(runId) {
    this.runId = runId;
    if (!byId("layers-card").open || !runId) return;
    try {
      const { records } = await get(`/statistics/compare?runs=${encodeURIComponent(runId)}&names=layer_activity_map&limit=${MOST_RECORDS}`);
      this.columns = records.filter(({ values }) => values.layer_activity_map).map(({ step, values }) => ({ step, layers: values.layer_activity_map }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      write("layers-text", error.message);
      return;
    }
    this.names = [...new Set(this.columns.flatMap(({ layers }) => Object.keys(layers)))];
    this.highest = Math.max(1e-9, ...this.columns.flatMap(({ layers }) => Object.values(layers)));
    byId("layers-names").replaceChildren(...this.names.map((name) => element("li", "", name.replaceAll("_", " "))));
    this.paint();
    this.say(null);
  }

  paint() {
    const canvas = byId("layers-map");
    if (!this.columns.length) return;
    const [width, height] = [canvas.parentElement.clientWidth, ROW * this.names.length];
    canvas.style.height = `${height}px`;
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const context = canvas.getContext("2d");
    const [x, y] = [canvas.width / this.columns.length, canvas.height / this.names.length];
    this.columns.forEach(({ layers }, column) => this.names.forEach((name, row) => {
      const share = Math.round((100 * (layers[name] ?? 0)) / this.highest);
      context.fillStyle = `color-mix(in oklab, ${color("accent")} ${share}%, ${color("raised")})`;
      context.fillRect(Math.floor(column * x), Math.floor(row * y), Math.ceil(x), Math.ceil(y) - devicePixelRatio);
    }));
  }

  point({ offsetX, offsetY, currentTarget: canvas }) {
    const column = this.columns[Math.floor((offsetX / canvas.clientWidth) * this.columns.length)];
    const name = this.names?.[Math.floor(offsetY / ROW)];
    this.say(column && name ? { step: column.step, name, value: column.layers[name] } : null);
  }

  say(found) {
    if (!this.columns.length) return write("layers-text", t("layers.empty"));
    const [first, last] = [this.columns[0].step, this.columns.at(-1).step];
    if (!found) return write("layers-text", t("layers.range", { first: whole(first), last: whole(last), highest: significant(this.highest) }));
    write("layers-text", t("layers.at", { name: found.name.replaceAll("_", " "), step: whole(found.step), value: significant(found.value) }));
  }
}
