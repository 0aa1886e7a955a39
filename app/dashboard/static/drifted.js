// The products whose service somebody changed outside Tagship: asked by itself, since the engine may be slow, or away.
// A page that has an empty part with the id "drifted" and a heading gets them there; without any it stays hidden.

import { base, call } from "./tagship.js";

const AGAIN_MS = 10_000;
const part = document.getElementById("drifted");

async function look() {
  const shown = [];
  try {
    const { drifted } = await call("GET", "/api/v1/drift");
    if (drifted.length) {
      const list = document.createElement("ul");
      list.className = "plainly";
      for (const { product_id, name, sentence } of drifted.slice(0, 20)) {
        const line = document.createElement("li");
        const link = document.createElement("a");
        link.href = `${base}/products/${product_id}`;
        link.textContent = name;
        line.append(link, `: ${sentence}`);
        list.append(line);
      }
      shown.push(list);
      if (drifted.length > 20) {
        const more = document.createElement("p");
        more.className = "muted";
        more.textContent = `${drifted.length - 20} more are not listed here; GET /api/v1/drift names them all.`;
        shown.push(more);
      }
    }
  } catch (problem) {
    const line = document.createElement("p");
    line.className = "muted";
    line.textContent = `Whether services were changed by hand is not known now: ${problem.detail ?? problem}`;
    shown.push(line);
  }
  part.removeAttribute("aria-busy");
  if (part.dataset.known === shown.map((one) => one.textContent).join("\n")) return;
  part.dataset.known = shown.map((one) => one.textContent).join("\n");
  part.replaceChildren(part.querySelector("h2"), ...shown);
  part.hidden = !shown.length;
}

// A rollout may have put something right. The whole fleet is compared each time, so that it is not asked at every change.
let waits = 0;
document.addEventListener("renewed", () => {
  if (!part) return;
  waits ||= setTimeout(() => {
    waits = 0;
    look();
  }, AGAIN_MS);
});
if (part) {
  part.setAttribute("aria-busy", "true");
  look();
}
