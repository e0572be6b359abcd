// One canvas that shows parts of a preview (LR, KI and GT side by side) under a wipe, beside each other, or as their
// difference: one zoom and one place for all of them, true pixels, and a loupe.

import { byId } from "../../shared/elements.js";
import { percent } from "../../shared/format.js";
import { t } from "../../shared/texts.js";

const MAX_ZOOM = 16;
const GAIN = 4; // by which a difference is shown brighter than it is
const LOUPE = { radius: 90, zoom: 4 };
const [LR, KI, GT] = [0, 1, 2];

export const MODES = {
  "lr-ki": { parts: [LR, KI], labels: ["LR", "KI"] },
  "ki-gt": { parts: [KI, GT], labels: ["KI", "GT"] },
  "lr-gt": { parts: [LR, GT], labels: ["LR", "GT"] },
  best: { parts: [KI, KI], labels: ["KI", "KI"], isOfBest: true },
  side: { parts: [LR, KI, GT], labels: ["LR", "KI", "GT"], isBeside: true },
  difference: { parts: [KI, GT], labels: [`|KI − GT| × ${GAIN}`] },
};

export class Canvas {
  constructor() {
    this.canvas = byId("picture");
    this.wipe = 0.5;
    this.view = { zoom: 0, x: 0.5, y: 0.5 }; // zoom 0: as large as fits
    this.loupe = null;
    byId("picture-fit").addEventListener("click", () => this.look({ zoom: 0, x: 0.5, y: 0.5 }));
    byId("picture-pixels").addEventListener("click", () => this.look({ ...this.view, zoom: 1 / devicePixelRatio }));
    byId("picture-loupe").addEventListener("click", ({ currentTarget }) => this.switchLoupe(currentTarget));
    byId("picture-wipe").addEventListener("input", (event) => this.moveWipe(Number(event.target.value) / 100));
    this.canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.onGrab(event));
    this.canvas.addEventListener("pointermove", (event) => this.moveLoupe({ x: event.offsetX, y: event.offsetY }));
    this.canvas.addEventListener("pointerleave", () => this.moveLoupe(null));
    new ResizeObserver(() => this.paint()).observe(this.canvas.parentElement);
  }

  /** Show a preview; `other` is the one that the left part is taken from. */
  show(picture, other, mode, labels) {
    Object.assign(this, { shown: picture, other, mode, labels });
    byId("picture-wipe").disabled = mode.isBeside || labels.length < 2;
    byId("picture-labels").replaceChildren(...labels.map((label) => Object.assign(document.createElement("span"), { textContent: label })));
    this.canvas.parentElement.style.setProperty("--ratio", `${picture.width / 3} / ${picture.height}`);
    this.paint();
  }

  look(view) {
    this.view = view;
    this.paint();
  }

  moveWipe(share) {
    this.wipe = Math.min(1, Math.max(0, share));
    byId("picture-wipe").value = String(Math.round(100 * this.wipe));
    this.paint();
  }

  switchLoupe(button) {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    this.hasLoupe = isOn;
    this.moveLoupe(null);
  }

  moveLoupe(place) {
    if (!this.hasLoupe && !this.loupe) return;
    this.loupe = this.hasLoupe ? place : null;
    this.paint();
  }

  onWheel(event) {
    if (!this.shown || !(event.ctrlKey || this.view.zoom)) return; // the page scrolls until a zoom was chosen
    event.preventDefault();
    const wanted = Math.min(MAX_ZOOM, this.layout().zoom * 2 ** (-event.deltaY / 300));
    this.look({ ...this.view, zoom: wanted <= this.fitting() ? 0 : wanted });
  }

  /** Near the line of the wipe a drag moves it, elsewhere it moves the picture. */
  onGrab(event) {
    if (!this.shown) return;
    const place = this.canvas.getBoundingClientRect();
    const isNearLine = Math.abs(event.clientX - place.left - this.wipe * place.width) < 16;
    const isWipe = this.labels.length === 2 && (!this.view.zoom || isNearLine);
    let [x, y] = [event.clientX, event.clientY];
    const move = (to) => {
      if (isWipe) this.moveWipe((to.clientX - place.left) / place.width);
      else this.pan(to.clientX - x, to.clientY - y);
      [x, y] = [to.clientX, to.clientY];
    };
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", () => this.canvas.removeEventListener("pointermove", move), { once: true });
    if (isWipe) move(event);
  }

  pan(dx, dy) {
    const { zoom, width, height } = this.layout();
    const within = (value) => Math.min(1, Math.max(0, value));
    this.look({ ...this.view, x: within(this.view.x - dx / zoom / width), y: within(this.view.y - dy / zoom / height) });
  }

  paint() {
    if (!this.shown) return;
    const [context, ratio, place] = [this.canvas.getContext("2d"), devicePixelRatio, this.canvas.parentElement];
    const { width, height, zoom } = this.layout();
    const shownHeight = Math.min(height * zoom, place.clientHeight || height * zoom);
    this.canvas.style.height = `${shownHeight}px`;
    this.canvas.width = Math.round(place.clientWidth * ratio);
    this.canvas.height = Math.round(shownHeight * ratio);
    context.imageSmoothingEnabled = zoom * ratio < 2;
    this.paintParts(context, zoom * ratio);
    if (this.loupe) this.paintLoupe(context);
    byId("picture-note").textContent = t("picture.size", { width, height, zoom: percent(zoom * ratio) });
  }

  /** Paint the parts at `scale` device pixels per pixel. */
  paintParts(context, scale) {
    const { parts, isBeside } = this.mode;
    const { width: all, height } = this.canvas;
    context.clearRect(0, 0, all, height);
    if (this.labels.length === 1) return this.paintDifference(context, scale);
    const line = Math.round(this.wipe * all);
    const edges = isBeside ? [0, 1, 2, 3].map((number) => Math.round((number * all) / 3)) : [0, line, all];
    parts.forEach((part, number) => {
      const [left, right] = [edges[number], edges[number + 1]];
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left, height);
      context.clip();
      const middle = isBeside ? (left + right) / 2 : all / 2;
      this.paintPart(context, { part, picture: number ? this.shown : this.other, middle, scale });
      context.restore();
    });
    context.fillStyle = "#fff";
    for (const edge of edges.slice(1, -1)) context.fillRect(edge - devicePixelRatio, 0, 2 * devicePixelRatio, height);
  }

  /** Paint one part of a preview, so that the place that is looked at is in the middle. */
  paintPart(context, { part, picture, middle, scale }) {
    const { width, height } = this.layout();
    const [x, y] = [middle - this.view.x * width * scale, this.canvas.height / 2 - this.view.y * height * scale];
    context.drawImage(picture, part * width, 0, width, height, x, y, width * scale, height * scale);
  }

  paintDifference(context, scale) {
    const middle = this.canvas.width / 2;
    const [one, other] = this.mode.parts.map((part) => ({ part, picture: this.shown, middle, scale }));
    this.paintPart(context, one);
    context.globalCompositeOperation = "difference";
    this.paintPart(context, other);
    context.globalCompositeOperation = "lighter";
    for (let gain = 1; gain < GAIN; gain *= 2) context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-over";
  }

  /** A round glass over the cursor, in which all is larger. */
  paintLoupe(context) {
    const { radius, zoom } = LOUPE;
    const [x, y, size] = [this.loupe.x, this.loupe.y, radius].map((value) => value * devicePixelRatio);
    const copy = Object.assign(document.createElement("canvas"), { width: this.canvas.width, height: this.canvas.height });
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    context.save();
    context.beginPath();
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.clip();
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(copy, x - size / zoom, y - size / zoom, (2 * size) / zoom, (2 * size) / zoom, x - size, y - size, 2 * size, 2 * size);
    context.lineWidth = 3 * devicePixelRatio;
    context.strokeStyle = "#fff";
    context.stroke();
    context.restore();
  }

  /** Size of one picture in its own pixels, and CSS pixels per pixel. */
  layout() {
    const [width, height] = [this.shown.width / 3, this.shown.height];
    return { width, height, zoom: this.view.zoom || this.fitting() };
  }

  fitting() {
    const place = this.canvas.parentElement;
    const width = place.clientWidth / (this.mode.isBeside ? 3 : 1);
    return Math.min(width / (this.shown.width / 3), (place.clientHeight || Infinity) / this.shown.height);
  }
}
