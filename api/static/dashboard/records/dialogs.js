// One record as it is, or two side by side with what differs.

import { ApiError, get } from "../../shared/api.js";
import { byId, cell, fill, head, write } from "../../shared/elements.js";
import { isNumber, signed, significant, whole } from "../../shared/format.js";
import { t } from "../../shared/texts.js";

const fetchRecord = (name) => get(`/statistics/${encodeURIComponent(name)}`);

export class RecordDialogs {
  async look(name) {
    write("stack-title", name);
    write("stack-text", "…");
    byId("stack-dialog").showModal();
    write("stack-text", await answerOr(async () => JSON.stringify(await fetchRecord(name), null, 2)));
  }

  /** Show two records' numbers, the earlier one first, and by how much the later one differs. */
  async compare(names) {
    byId("compare-dialog").showModal();
    const problem = await answerOr(async () => {
      const [one, other] = (await Promise.all(names.map(fetchRecord))).toSorted((a, b) => a.step_current - b.step_current);
      write("compare-one", whole(one.step_current));
      write("compare-other", whole(other.step_current));
      const keys = Object.keys(other).filter((key) => isNumber(one[key]) && isNumber(other[key]) && one[key] !== other[key]);
      const rows = keys.map((key) => [key, significant(one[key]), significant(other[key]), difference(one[key], other[key])]);
      fill(byId("compare"), rows, ([key, ...values]) => [head(key), ...values.map((value) => cell(value, "num"))], t("compare.equal"));
      return "";
    });
    write("compare-note", problem);
  }
}

function difference(one, other) {
  const by = other - one;
  const digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(Math.abs(by)))));
  return signed(by, digits);
}

/** What `ask` answers, or the reason why it cannot. */
async function answerOr(ask) {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.message;
  }
}
