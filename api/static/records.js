// The list of saved records, newest first, each with its download.

import { ApiError, get, hasToken, saveFile } from "./api.js";
import { fixed, moment, signed, whole } from "./format.js";
import { cell, element, fill, head } from "./panels.js";

const MOST_SHOWN = 500;

/** Fetch and show the newest ones. `bestQuality` is the run's best so far; an older record may hold it. */
export async function updateRecords(bestQuality) {
  const answer = await get(`/statistics?order=desc&limit=${MOST_SHOWN}`);
  const { records } = answer;
  const best = records.reduce((found, row) => ((row.quality_ki_value ?? -1) > (found?.quality_ki_value ?? -1) ? row : found), null);
  const isBest = (record) => record === best && !(bestQuality > record.quality_ki_value);
  fill(
    document.getElementById("records"),
    records.map((record) => ({ ...record, isBest: isBest(record) })),
    cellsOf,
    "No record yet: the first validation saves one.",
  );
  document.getElementById("records-note").textContent = noteOf(answer);
}

function noteOf({ records, count, unreadable }) {
  const spoilt = unreadable.length ? ` · ${unreadable.length} unreadable: ${unreadable.map(({ name }) => name).join(", ")}` : "";
  const shown = records.length < count ? `the newest ${records.length} of ${whole(count)} saved` : `${count} saved, newest first`;
  return count || spoilt ? `${shown}${spoilt}` : "";
}

function cellsOf(record) {
  const gain = cell(signed(record.quality_improvement_value, 4), "num");
  gain.dataset.tone = record.quality_improvement_value >= 0 ? "ki" : "lr";
  const quality = cell(fixed(record.quality_ki_value, 4), "num");
  if (record.isBest) quality.prepend(element("span", "tag best", "best"));
  return [
    head(whole(record.step), "num"),
    quality,
    cell(fixed(record.quality_lr_value, 4), "num wide"),
    gain,
    cell(`${fixed(record.psnr_ki_db, 2)} dB`, "num wide"),
    cell(fixed(record.validation_loss_value, 5), "num wide"),
    cell(record.trigger, "widest"),
    cell(moment(record.modified_at), "widest"),
    cell(downloadLink(record)),
  ];
}

function downloadLink({ name, url }) {
  const [stem, rest] = name.split("_");
  const link = element("a", "download", element("span", "wide", `${stem}_`), rest);
  link.setAttribute("aria-label", `Download ${name}`);
  link.href = url;
  link.download = name;
  link.addEventListener("click", async (event) => {
    if (!hasToken()) return;
    event.preventDefault();
    try {
      await saveFile(url, name);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      link.title = error.message;
    }
  });
  return link;
}
