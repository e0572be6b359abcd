// One event stream for all tabs of a browser that show the same run with the same token: one tab holds it and hands
// its messages on. Where the browser cannot (a page over plain HTTP), each tab has a stream of its own.

import { ROOT } from "../../shared/api.js";

export class Tabs {
  /** `onMessage` gets what another tab hands on. */
  constructor(onMessage) {
    this.onMessage = onMessage;
    this.channel = null;
    this.name = null;
  }

  /** Join the tabs with this token; a tab with another one, or none, hears nothing. */
  async join(headers) {
    this.leave();
    if (!isSecureContext || !navigator.locks || !window.BroadcastChannel) return;
    const page = new TextEncoder().encode(JSON.stringify([ROOT, location.pathname, headers.Authorization ?? ""]));
    const digest = await crypto.subtle.digest("SHA-256", page);
    this.name = `leitstand ${[...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => this.onMessage(data);
  }

  leave() {
    this.channel?.close();
    this.channel = this.name = null;
  }

  /** Do `work` while no other tab does; raises what `work` raises, or an abort while waiting. */
  async lead(signal, work) {
    return this.name ? navigator.locks.request(this.name, { signal }, work) : work();
  }

  share(message) {
    this.channel?.postMessage(message);
  }
}
