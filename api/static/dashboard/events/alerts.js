// The alerts that are on, above everything; and a notification of the browser for each new one, where that is allowed.

import { get } from "../../shared/api.js";
import { byId, element, write } from "../../shared/elements.js";
import { duration } from "../../shared/format.js";
import { counted, t } from "../../shared/texts.js";

const words = (name) => name.replaceAll("_", " ");

export class Alerts {
  constructor() {
    byId("alerts-button").addEventListener("click", () => byId(byId("alerts-area").hidden ? "banner" : "alerts").scrollIntoView({ block: "center" }));
    /** The name of the alert that the banner tells of already; it is not told twice. */
    this.told = null;
    byId("notify").addEventListener("click", () => this.allow());
    byId("notify").hidden = !("Notification" in window) || Notification.permission !== "default" || !isSecureContext;
  }

  async update() {
    const { alerts } = await get("/alerts");
    byId("alerts-button").hidden = !alerts.length;
    write("alerts-button", counted("alerts.count", alerts.length));
    const others = alerts.filter(({ name }) => name !== this.told);
    byId("alerts-area").hidden = !others.length;
    byId("alerts").replaceChildren(...others.map(({ name, sentence, since }) => {
      const item = element("li", "", element("b", "", words(name)), ` ${sentence} `);
      item.append(element("span", "card-note", t("alerts.for", { duration: duration(Date.now() / 1000 - since) })));
      return item;
    }));
  }

  /** Whether the browser may tell of alerts while nobody looks at this page. */
  get mayNotify() {
    return "Notification" in window && Notification.permission === "granted";
  }

  async allow() {
    byId("notify").hidden = (await Notification.requestPermission()) !== "default";
  }

  /** Tell of an alert that begins, also while another window is in front. */
  notify({ name, is_on: isOn, sentence }) {
    if (!isOn || !this.mayNotify) return;
    new Notification(`Leitstand: ${words(name)}`, { body: sentence, tag: name });
  }
}
