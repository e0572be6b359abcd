// The drawer "Change…": the settings that can change while the run goes on, checked by a dry run before they are sent.

import { ApiError, change, getTagged } from "../../shared/api.js";
import { byId, element, write } from "../../shared/elements.js";
import { whole } from "../../shared/format.js";
import { counted, t } from "../../shared/texts.js";
import { openAsking } from "./commands.js";

const ADAPTIVE = "adaptive";

export class Settings {
  constructor(commands) {
    this.commands = commands;
    this.checked = null;
    byId("change").addEventListener("click", () => this.open());
    byId("settings-form").addEventListener("submit", (event) => this.submit(event));
    byId("settings-form").addEventListener("input", ({ target }) => target.id !== "settings-why" && this.forgetCheck());
    byId("settings-filter").addEventListener("input", () => this.filter());
    byId("settings-close").addEventListener("click", () => byId("settings-dialog").close());
    byId("settings-dialog").addEventListener("click", ({ target }) => target === byId("settings-dialog") && byId("settings-dialog").close());
  }

  async open() {
    if (byId("change").disabled) return;
    byId("settings-list").replaceChildren(element("p", "card-note", "…"));
    openAsking("settings");
    byId("settings-filter").focus();
    try {
      const { content, etag } = await getTagged("/settings");
      this.etag = etag; // what another person changes meanwhile is not changed back unseen
      this.fill(content);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("settings-list").replaceChildren(element("p", "problem", error.message));
    }
    this.filter();
  }

  fill({ changeable, pins, pending }) {
    this.fields = new Map(changeable.map((setting) => [setting.name, new Field(setting, setting.name in pins)]));
    byId("settings-list").replaceChildren(...[...this.fields.values()].map(({ row }) => row));
    const waiting = pending.map(({ changes, apply_at_step: step }) => t(step == null ? "settings.pending" : "settings.pending-at", { changes: textOf(changes), step: whole(step) }));
    write("settings-pending", waiting.join(" "));
    this.forgetCheck();
  }

  filter() {
    const wanted = byId("settings-filter").value.trim().toLowerCase();
    for (const row of byId("settings-list").children) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }

  /** What differs from the settings in force: {NAME: value}. */
  changes() {
    return Object.fromEntries([...this.fields.values()].filter((field) => field.isChanged).map((field) => [field.name, field.value]));
  }

  forgetCheck() {
    this.checked = null;
    const count = Object.keys(this.changes()).length;
    byId("settings-send").disabled = !count;
    write("settings-send", counted("settings.check", count));
    byId("settings-result").dataset.tone = "";
    write("settings-result", count ? textOf(this.changes()) : t("settings.nothing"));
  }

  /** The first time the changes are checked, the second time they are sent. */
  async submit(event) {
    event.preventDefault();
    const changes = this.changes();
    if (!Object.keys(changes).length) return;
    if (this.checked) {
      byId("settings-dialog").close();
      await this.commands.send("set", changes, { etag: this.etag, why: byId("settings-why").value });
      return;
    }
    try {
      const step = byId("at-step").value;
      await change("PATCH", `/settings?dry_run=true${step ? `&apply_at_step=${encodeURIComponent(step)}` : ""}`, changes, this.etag);
      this.checked = changes;
      byId("settings-result").dataset.tone = "good";
      write("settings-result", t(step ? "settings.accepted-at" : "settings.accepted", { changes: textOf(changes), step: whole(Number(step)) }));
      write("settings-send", counted("settings.send", Object.keys(changes).length));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("settings-result").dataset.tone = "bad";
      write("settings-result", error.slug === "precondition-failed" ? t("settings.changed") : error.message);
    }
  }
}

/** One setting: its input, what it means, what is allowed, and who holds it. */
class Field {
  constructor({ name, value, start_value: start, range, meaning }, isHeld) {
    Object.assign(this, { name, before: value });
    this.canAdapt = range.includes(ADAPTIVE);
    this.wasAdaptive = this.canAdapt && !isHeld;
    const id = `setting-${name}`;
    this.input = inputFor(value);
    this.input.id = id;
    const label = element("label", "setting-name", name);
    label.htmlFor = id;
    const note = element("span", "card-note", `${meaning} · ${range}${value === start ? "" : ` · ${t("settings.start", { value: String(start) })}`}`);
    this.row = element("div", "setting", label, element("span", "setting-value", ...(this.canAdapt ? [this.adaptBox()] : []), this.input), note);
  }

  /** A number holds the value; without it the controller adapts it. */
  adaptBox() {
    this.adapts = element("input");
    this.adapts.type = "checkbox";
    this.adapts.checked = this.wasAdaptive;
    this.input.disabled = this.wasAdaptive;
    this.adapts.addEventListener("change", () => { this.input.disabled = this.adapts.checked; });
    return element("label", "setting-adapts", this.adapts, t("settings.adaptive"));
  }

  get value() {
    if (this.adapts?.checked) return ADAPTIVE;
    if (this.input.type === "checkbox") return this.input.checked;
    const number = Number(this.input.value.replace(",", "."));
    return this.input.value.trim() === "" || Number.isNaN(number) ? this.input.value : number;
  }

  get isChanged() {
    return this.adapts ? this.adapts.checked !== this.wasAdaptive || (!this.adapts.checked && this.value !== this.before) : this.value !== this.before;
  }
}

function inputFor(value) {
  const input = element("input");
  if (typeof value === "boolean") {
    input.type = "checkbox";
    input.checked = value;
  } else {
    input.type = "text";
    input.inputMode = "decimal";
    input.autocomplete = "off";
    input.value = String(value);
  }
  return input;
}

const textOf = (changes) => Object.entries(changes).map(([name, value]) => `${name} = ${value}`).join(", ");
