// The validation pictures: which image of which step, an earlier one beside it, and the steps one after another.
//
// The view (zoom and place) is kept when the step or the picture changes, so that the eye compares like with like.

import { ApiError, getBlob, getPages } from "../../shared/api.js";
import { byId } from "../../shared/elements.js";
import { whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";
import { Canvas, MODES } from "./canvas.js";

const KEPT_PICTURES = 48;
const PLAY_MS = 220;
/** How often the pictures of a new record are looked for: they are written beside it, and a run may make none. */
const MOST_TRIES = 4;

export class Pictures {
  /** `onStep(step)` is called whenever another step is looked at. */
  constructor(onStep) {
    this.onStep = onStep;
    this.canvas = new Canvas();
    this.steps = [];
    this.names = new Map();
    this.kept = new Map();
    this.step = this.bestStep = null;
    /** How often the pictures of a step are still looked for, by step. */
    this.expected = new Map();
    this.follows = true;
    this.timer = null;
    byId("picture-step").addEventListener("input", (event) => this.choose(this.steps[Number(event.target.value)]));
    byId("picture-name").addEventListener("change", () => this.draw());
    byId("picture-mode").addEventListener("change", () => this.draw());
    byId("picture-play").addEventListener("click", () => this.play());
  }

  /** Fetch the list of pictures; the newest is shown unless another one was chosen. */
  async update() {
    this.names = new Map();
    await this.take("/previews?limit=1000");
  }

  /** A validation was saved: its pictures are there, or come soon. */
  async expect(step) {
    this.expected.set(step, MOST_TRIES);
    await this.lookForExpected();
  }

  async lookForExpected() {
    for (const [step, tries] of [...this.expected]) {
      await this.take(`/previews?limit=1000&step=${step}`);
      if (tries > 1 && !this.names.has(step)) this.expected.set(step, tries - 1);
      else this.expected.delete(step);
    }
  }

  async take(path) {
    for (const entry of await listed(path)) {
      const known = (this.names.get(entry.step) ?? []).filter(({ name }) => name !== entry.name);
      this.names.set(entry.step, [...known, entry]);
    }
    this.steps = [...this.names.keys()].sort((one, other) => one - other);
    byId("pictures").hidden = !this.steps.length;
    if (!this.steps.length) return;
    this.fillNames();
    byId("picture-step").max = String(this.steps.length - 1);
    if (this.follows || !this.names.has(this.step)) this.step = this.steps.at(-1);
    byId("picture-step").value = String(this.steps.indexOf(this.step));
    await this.draw();
  }

  /** Say at which step the best record was saved, with which the shown picture can be compared. */
  setBest(step) {
    if (this.bestStep === step) return;
    this.bestStep = step;
    if (byId("picture-mode").value === "best") this.draw();
  }

  /** Look at the picture of the step nearest to `step`. */
  async choose(step) {
    if (!this.steps.length) return;
    this.step = nearest(this.steps, step);
    this.follows = this.step === this.steps.at(-1);
    byId("picture-step").value = String(this.steps.indexOf(this.step));
    this.onStep(this.step);
    await this.draw();
  }

  /** Look at the step so many before or after the present one. */
  move(by) {
    if (this.steps.length) this.choose(this.steps[Math.min(this.steps.length - 1, Math.max(0, this.steps.indexOf(this.step) + by))]);
  }

  fillNames() {
    const names = [...new Set([...this.names.values()].flat().map(({ name }) => name))].sort();
    const chooser = byId("picture-name");
    if (chooser.dataset.stamp === names.join("/")) return;
    const before = chooser.value;
    chooser.dataset.stamp = names.join("/");
    chooser.replaceChildren(...names.map((name) => new Option(name.replace(/\.\w+$/, ""), name)));
    if (names.includes(before)) chooser.value = before;
  }

  play() {
    if (this.timer) {
      this.stopPlaying();
      return;
    }
    byId("picture-play").textContent = t("picture.pause");
    if (this.step === this.steps.at(-1)) this.choose(this.steps[0]);
    const next = async () => {
      const place = this.steps.indexOf(this.step) + 1;
      if (!this.timer || place >= this.steps.length) return this.stopPlaying();
      await this.choose(this.steps[place]);
      if (this.timer) this.timer = setTimeout(next, PLAY_MS);
    };
    this.timer = setTimeout(next, PLAY_MS);
  }

  stopPlaying() {
    clearTimeout(this.timer);
    this.timer = null;
    byId("picture-play").textContent = t("picture.play");
  }

  entryAt(step) {
    return (this.names.get(step) ?? []).find(({ name }) => name === byId("picture-name").value);
  }

  /** Fetch what is to be shown now, and paint it; an answer that was overtaken is dropped. */
  async draw() {
    const mode = MODES[byId("picture-mode").value];
    const entry = this.entryAt(this.step);
    const other = mode.isOfBest ? (this.entryAt(nearest(this.steps, this.bestStep ?? this.step)) ?? entry) : entry;
    const wanted = (this.wanted = `${entry?.url} ${other?.url} ${byId("picture-mode").value}`);
    if (!entry) return;
    try {
      const [picture, otherPicture] = [await this.picture(entry), await this.picture(other)];
      if (this.wanted !== wanted) return;
      const labels = mode.isOfBest ? [t("picture.ki-best", { step: whole(other.step) }), t("picture.ki-of", { step: whole(entry.step) })] : mode.labels;
      this.canvas.show(picture, otherPicture, mode, labels);
      this.say(labels);
      this.fetchNeighbours();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("picture-note").textContent = error.message;
    }
  }

  /** The pixels of a picture; those that were asked for last are kept, and none is asked for twice at a time. */
  picture({ url, step, name }) {
    if (!this.kept.has(url)) {
      const picture = getBlob(`/previews/${step}/${encodeURIComponent(name)}`).then((content) => createImageBitmap(content));
      this.kept.set(url, picture);
      picture.catch(() => this.kept.delete(url));
      const [oldest] = this.kept.keys();
      if (this.kept.size > KEPT_PICTURES) this.kept.delete(oldest); // not closed: it may be the one that is shown
    }
    return this.kept.get(url);
  }

  /** Once nothing else is to be done, fetch what the next key or the next move of the slider would show. */
  fetchNeighbours() {
    if (navigator.connection?.saveData) return;
    cancelIdleCallback(this.waiting);
    this.waiting = requestIdleCallback(async () => {
      const place = this.steps.indexOf(this.step);
      for (const step of [this.steps[place - 1], this.steps[place + 1]]) {
        const entry = this.entryAt(step);
        if (entry) await this.picture(entry).catch(() => {}); // where it is to be shown, it is asked for again
      }
    });
  }

  say(labels) {
    byId("picture-at").textContent = t(this.follows ? "picture.step-newest" : "picture.step", { step: whole(this.step) });
    const name = byId("picture-name").value;
    byId("picture").setAttribute("aria-label", t("picture.label", { labels: labels.join(t("picture.and")), name, step: whole(this.step) }));
  }
}

/** The pictures of a run; a run whose folder is on another machine has none here. */
async function listed(path) {
  try {
    return await getPages(path, "previews");
  } catch (error) {
    if (error instanceof ApiError && error.slug === "not-found") return [];
    throw error;
  }
}

function nearest(steps, step) {
  return steps.reduce((best, other) => (Math.abs(other - step) < Math.abs(best - step) ? other : best), steps[0]);
}
