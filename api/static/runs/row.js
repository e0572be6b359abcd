// One run of the list: who it is, how it stands, how good it is. A name is what a person wrote, so it is only ever text.

import { editButton } from "../shared/edit.js";
import { element, head } from "../shared/elements.js";
import { duration, fixed, moment, whole } from "../shared/format.js";
import { t } from "../shared/texts.js";
import { say } from "./texts.js";

export const ENDED = new Set(["finished", "stopped", "failed"]);
/** Younger signs of life are of this moment: a trainer sends one every second. */
const NOW_SECONDS = 5;
const TONES = {
  starting: "accent", running: "good", paused: "warn", stalled: "warn", lost: "bad", finished: "good", stopped: "muted", failed: "bad",
};

/** What a person calls a run: its name, or else its id. */
export const titleOf = (run) => run.name ?? run.run_id;
/** The address of a run's own page, beside this one. */
export const pageOf = (run) => `./runs/${encodeURIComponent(run.run_id)}/`;

/** The table row of a run. `choice` is `{ isChosen, mayChoose, mayEdit }`. */
export function rowOf(run, { isChosen, mayChoose, mayEdit }) {
  const row = element(
    "tr", isChosen ? "chosen" : "",
    element("td", "choose", checkbox(run, isChosen, mayChoose)),
    identity(run),
    element("td", "state", stateTag(run)),
    element("td", "spark"),
    number("best", fixed(run.best_quality, 4), "column.best"),
    number("quality", fixed(run.quality, 4), "column.quality"),
    element("td", "step", progress(run)),
    age(run),
    element("td", "edit", mayEdit ? editButton(say("edit.label", { run: titleOf(run) }), element("span", "word", say("edit"))) : ""),
  );
  row.dataset.run = run.run_id;
  return row;
}

export function stateTag(run) {
  const tag = element("span", "tag", t(`state.${run.run_state}`));
  tag.dataset.tone = TONES[run.run_state] ?? "muted";
  if (run.run_reason) tag.title = run.run_reason;
  return tag;
}

function checkbox(run, isChosen, mayChoose) {
  const input = element("input", "");
  input.type = "checkbox";
  input.checked = isChosen;
  input.disabled = !isChosen && !mayChoose;
  input.setAttribute("aria-label", say("choose", { run: titleOf(run) }));
  return element("label", "", input);
}

function identity(run) {
  const link = element("a", "title", titleOf(run));
  link.href = pageOf(run);
  const line = element("span", "under");
  if (run.name) line.append(element("code", "", run.run_id));
  if (run.is_default) line.append(element("span", "mark", say("default")));
  if (run.note) line.append(element("span", "note", run.note));
  const cell = head("", "run");
  cell.append(link, line);
  if (run.note) line.title = run.note;
  return cell;
}

function number(className, text, label) {
  const cell = element("td", `num ${className}`, element("span", "label", say(label)), text);
  return cell;
}

function progress(run) {
  const share = run.step_max ? Math.min(1, run.step / run.step_max) : null;
  const of = run.step_max ? element("span", "of", ` / ${whole(run.step_max)}`) : "";
  const text = element("span", "of-steps", whole(run.step), of);
  if (share === null) return text;
  const filled = element("span", "bar-filled");
  filled.style.setProperty("width", `${100 * share}%`);
  return element("span", "", text, element("span", "bar", filled));
}

function age(run) {
  const time = element("time", "", ageText(run));
  time.title = moment(run.heartbeat_at);
  time.dateTime = new Date(1000 * run.heartbeat_at).toISOString();
  return element("td", "age", time);
}

const ageText = ({ age_seconds: age }) => (age < NOW_SECONDS ? say("now") : say("ago", { duration: duration(age) }));

/** What a row shows, as one text: while it is the same, the row need not be made again. */
export function stampOf(run, choice) {
  return JSON.stringify([{ ...run, age_seconds: ageText(run), heartbeat_at: moment(run.heartbeat_at) }, choice]);
}
