// The settings of the chosen runs that differ: only these, a column for each run.

import { byId, cell, element, head, write } from "../../shared/elements.js";
import { say } from "../texts.js";

/** Show what differs; `columns` are `{heading, settings}`, with null for settings that are not known. */
export function showSettings(columns) {
  const known = columns.filter(({ settings }) => settings);
  const names = [...new Set(known.flatMap(({ settings }) => Object.keys(settings)))].sort();
  const differing = names.filter((name) => new Set(known.map(({ settings }) => JSON.stringify(settings[name]))).size > 1);
  const isEmpty = known.length < 2 || !differing.length;
  byId("settings-scroll").hidden = isEmpty;
  byId("settings-empty").hidden = !isEmpty;
  write("settings-empty", say(columns.length < 2 ? "settings.one" : "settings.equal"));
  write("settings-note", isEmpty ? "" : say("settings.note", { count: differing.length, of: names.length }));
  const stamp = JSON.stringify([columns.map(({ stamp: of }) => of), differing, known]);
  if (byId("settings").dataset.stamp === stamp) return;
  byId("settings").dataset.stamp = stamp;
  const rows = differing.map((name) => element("tr", "", head(name), ...known.map(({ settings }) => cell(written(settings[name])))));
  const headings = element("tr", "", columnHead(say("settings.column")), ...known.map(({ heading }) => heading()));
  byId("settings").replaceChildren(element("thead", "", headings), element("tbody", "", ...rows));
}

function columnHead(text) {
  const item = element("th", "", text);
  item.scope = "col";
  return item;
}

function written(value) {
  return value === undefined || value === "" ? "–" : String(value);
}
