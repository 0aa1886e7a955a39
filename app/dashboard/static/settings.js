// The pages of settings: tests whose findings are shown beside the button, secrets that are shown once, copying.

import { call, say } from "./tagship.js";

function line(tone, sign, text) {
  const row = document.createElement("p");
  const mark = document.createElement("span");
  mark.className = `chip ${tone}`;
  mark.textContent = sign;
  row.append(mark, ` ${text}`);
  return row;
}

function shown(finding) {
  const tone = finding.ok ? "ok" : finding.needed ? "bad" : "warn";
  return line(tone, `${finding.ok ? "✓" : finding.needed ? "✕" : "!"} ${finding.part}`, finding.sentence);
}

// Asks while the button waits, and puts what `make` makes of the answer into the part that it names.
async function into(button, method, path, make) {
  const part = document.getElementById(button.dataset.into);
  button.disabled = true;
  part.setAttribute("aria-busy", "true");
  try {
    part.replaceChildren(...make(await call(method, path)));
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    part.replaceChildren(line("bad", "✕", problem.detail));
  } finally {
    button.disabled = false;
    part.removeAttribute("aria-busy");
  }
}

const tested = (told) => [
  line(told.sent ? "ok" : "bad", told.sent ? "✓ sent" : "✕ not sent", [told.status, told.answer].filter(Boolean).join(" ")),
];

function wouldGo({ removed }) {
  const names = removed.slice(0, 50).map(({ image, reason }) => line("idle", image, reason));
  if (!removed.length) return [line("ok", "✓", "No image would go.")];
  const more = removed.length > names.length ? `, of which ${names.length} are listed` : "";
  return [line("warn", "!", `${removed.length} images would go${more}.`), ...names];
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { check, test, copy } = button.dataset;
  if (check) await into(button, "POST", `/api/v1/repositories/${check}/check`, (findings) => findings.map(shown));
  else if (test) await into(button, "POST", `/api/v1/channels/${test}/test`, tested);
  else if ("doctor" in button.dataset) await into(button, "GET", "/api/v1/doctor", (findings) => findings.map(shown));
  else if ("retention" in button.dataset) await into(button, "POST", "/api/v1/retention?dry_run=true", wouldGo);
  else if (copy) {
    try {
      await navigator.clipboard.writeText(document.getElementById(copy).textContent);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(document.getElementById(copy));
      say("Your browser does not let this page copy; the text is marked, press Ctrl+C.", "warn");
    }
  }
});

// What is shown once: the token that was made, or the secret of a channel that signs.
document.addEventListener("called", ({ target, detail }) => {
  if (!["new-token", "new-channel"].includes(target.id)) return;
  const secret = detail?.token ?? detail?.secret;
  const part = document.getElementById("new-secret");
  part.hidden = !secret;
  document.getElementById("secret-value").textContent = secret ?? "";
  target.reset();
});

document.querySelector("[data-doctor]")?.click();
