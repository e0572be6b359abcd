// The list of saved records: sorted as a person likes, each with its download, two of them side by side.

import { ApiError, beside, get, hasToken, saveFile } from "../../shared/api.js";
import { byId, cell, element, fill, head, write } from "../../shared/elements.js";
import { fixed, moment, signed, whole } from "../../shared/format.js";
import { counted, t } from "../../shared/texts.js";
import { RecordDialogs } from "./dialogs.js";

const MAX_SHOWN = 500;
const MOST_COMPARED = 2;

export class Records {
  constructor(checkpoints) {
    this.checkpoints = checkpoints;
    this.list = [];
    this.answer = { count: 0, unreadable: [] };
    this.sorting = { key: "step", isDescending: true };
    this.chosen = [];
    this.dialogs = new RecordDialogs();
    for (const button of document.querySelectorAll("#records-head button")) button.addEventListener("click", () => this.sortBy(button.dataset.key));
    byId("records-compare").addEventListener("click", () => this.dialogs.compare(this.chosen));
    byId("records-csv").addEventListener("click", (event) => this.download(event, "/statistics?format=csv", "records.csv"));
    checkpoints.onChange = () => this.show();
  }

  /** Fetch the newest records. */
  async update() {
    const answer = await get(`/statistics?order=desc&limit=${MAX_SHOWN}`);
    this.list = answer.records;
    this.answer = answer;
    this.show();
  }

  /** Take in a record that the stream tells of. */
  add({ time, step, name, trigger, ...values }) {
    const isNew = !this.list.some((record) => record.name === name);
    const { quality_ki_value: ki, quality_lr_value: lr } = values;
    const gain = ki == null || lr == null ? null : ki - lr;
    this.list = [{ ...values, step, name, trigger, modified_at: time, quality_improvement_value: gain }, ...this.list.filter((record) => record.name !== name)];
    this.list.sort((one, other) => other.step - one.step);
    if (isNew) this.answer = { ...this.answer, count: this.answer.count + 1 };
    if (this.list.length > MAX_SHOWN) this.list.length = MAX_SHOWN;
    this.show();
  }

  /** The best of those that are known, or null; an older record may be better. */
  get best() {
    return this.list.reduce((found, row) => ((row.quality_ki_value ?? -1) > (found?.quality_ki_value ?? -1) ? row : found), null);
  }

  /** `bestQuality` is the run's best so far. */
  setBest(bestQuality) {
    if (bestQuality === this.bestQuality) return;
    this.bestQuality = bestQuality;
    this.show();
  }

  sortBy(key) {
    this.sorting = { key, isDescending: key === this.sorting.key ? !this.sorting.isDescending : true };
    this.show();
  }

  sorted() {
    const { key, isDescending } = this.sorting;
    const order = (one, other) => {
      const [a, b] = [one[key], other[key]];
      if (a == null || b == null) return (a == null) - (b == null); // what is not known comes last
      return (a < b ? -1 : a > b ? 1 : 0) * (isDescending ? -1 : 1);
    };
    return this.list.toSorted(order);
  }

  show() {
    const { best } = this;
    const isBest = (record) => record === best && !(this.bestQuality > record.quality_ki_value + 1e-12);
    const rows = this.sorted().map((record) => ({ ...record, isBest: isBest(record), checkpoint: this.checkpoints.at(record.step)?.name }));
    fill(byId("records"), rows, (row) => this.cellsOf(row), t("records.empty"));
    write("records-note", noteOf(this.list.length, this.answer));
    for (const button of document.querySelectorAll("#records-head button")) {
      const isThis = button.dataset.key === this.sorting.key;
      button.parentElement.ariaSort = isThis ? (this.sorting.isDescending ? "descending" : "ascending") : "none";
    }
    this.showChosen();
  }

  choose(name, isChosen) {
    this.chosen = this.chosen.filter((other) => other !== name);
    if (isChosen) this.chosen = [...this.chosen, name].slice(-MOST_COMPARED);
    this.showChosen();
  }

  showChosen() {
    for (const box of byId("records").querySelectorAll("input")) box.checked = this.chosen.includes(box.value);
    byId("records-compare").disabled = this.chosen.length < MOST_COMPARED;
  }

  cellsOf(record) {
    const gain = cell(signed(record.quality_improvement_value, 4), "num");
    gain.dataset.tone = record.quality_improvement_value >= 0 ? "ki" : "lr";
    const quality = cell(fixed(record.quality_ki_value, 4), "num");
    if (record.isBest) quality.prepend(element("span", "tag best", t("records.best")));
    const box = element("input");
    Object.assign(box, { type: "checkbox", value: record.name, checked: this.chosen.includes(record.name) });
    box.setAttribute("aria-label", t("records.tick", { name: record.name }));
    box.addEventListener("change", () => this.choose(record.name, box.checked));
    return [
      cell(box, "tick"),
      head(whole(record.step), "num"),
      quality,
      cell(fixed(record.quality_lr_value, 4), "num wide"),
      gain,
      cell(`${fixed(record.psnr_ki_db, 2)} dB`, "num wide"),
      cell(fixed(record.validation_loss_value, 5), "num wide"),
      cell(record.trigger, "widest"),
      cell(moment(record.modified_at), "widest"),
      cell(this.actions(record), "actions"),
    ];
  }

  actions({ name, step, checkpoint }) {
    const path = `/statistics/${encodeURIComponent(name)}`;
    const [stem, rest] = name.split("_");
    const link = element("a", "download", element("span", "wide", `${stem}_`), rest);
    link.setAttribute("aria-label", t("records.download", { name }));
    link.href = beside(path);
    link.download = name;
    link.addEventListener("click", (event) => this.download(event, path, name));
    const look = element("button", "small plain", "JSON");
    look.type = "button";
    look.setAttribute("aria-label", t("records.look", { name }));
    look.addEventListener("click", () => this.dialogs.look(name));
    const back = checkpoint ? [this.checkpoints.button(checkpoint, step)] : [];
    return element("span", "row-actions", ...back, look, link);
  }

  /** Where there is a token, a link cannot carry it: the file is fetched with it. */
  async download(event, path, name) {
    if (!hasToken()) return;
    event.preventDefault();
    const link = event.currentTarget;
    try {
      await saveFile(path, name);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      link.title = error.message;
    }
  }
}

function noteOf(shown, { count, unreadable }) {
  const spoilt = unreadable.length ? t("records.unreadable", { count: unreadable.length, names: unreadable.map(({ name }) => name).join(", ") }) : "";
  if (!count && !spoilt) return "";
  return `${shown < count ? t("records.newest", { shown: whole(shown), count: whole(count) }) : counted("records.saved", count)}${spoilt}`;
}
