// The pages of settings: what a button finds out is shown beside it, secrets are shown once, and texts are copied.

import { call, say } from "./tagship.js";

const MASK = "********";
const MOST_NAMES = 50;
const results = new Map(); // what was found out, by the id of the part that shows it: parts are renewed

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

function put(id, lines, isBusy = false) {
  results.set(id, lines);
  const part = document.getElementById(id);
  if (!part) return;
  part.replaceChildren(...lines);
  if (isBusy) part.setAttribute("aria-busy", "true");
  else part.removeAttribute("aria-busy");
}

// Finds something out while the button waits, and shows it in the part that the button names.
async function into(button, find) {
  const id = button.dataset.into;
  button.disabled = true;
  put(id, results.get(id) ?? [...document.getElementById(id).children], true);
  try {
    put(id, await find(id));
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    put(id, [line("bad", "✕ no answer", problem.detail)]);
  } finally {
    button.disabled = false;
  }
}

// What is known of a repository's connection and, where GitHub has its webhook, whether a ping comes through.
async function tested(button, id) {
  const path = `/api/v1/repositories/${button.dataset.check}`;
  const found = await call("POST", `${path}/check`);
  const lines = found.map(shown);
  if (!("ping" in button.dataset) || !found.some(({ part, ok }) => part === "webhook" && ok)) return lines;
  put(id, [...lines, line("run", "◐ ping", "waiting for GitHub's ping")], true);
  try {
    return [...lines, ...(await call("POST", `${path}/ping`)).map(shown)];
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    return [...lines, line("warn", "! ping", problem.detail)];
  }
}

async function greeted(button) {
  const { sent, status, answer } = await call("POST", `/api/v1/channels/${button.dataset.test}/test`);
  return [sent ? line("ok", "✓ sent", `${status} ${answer}`) : line("bad", "✕ not sent", answer)];
}

const gigabytes = (bytes) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;

function swept({ dry_run: isTrial, removed, kept, freed_bytes: freed, build_cache: cache }) {
  const would = isTrial ? "would be removed" : "removed";
  const images = `${removed.length} ${removed.length === 1 ? "image" : "images"}`;
  const said = removed.length ? `${images} ${would}, ${gigabytes(freed)}; ${kept.length} stay` : `No image ${isTrial ? "would go" : "went"}; ${kept.length} stay`;
  const built = isTrial ? `; the build cache holds ${gigabytes(cache.size_bytes)}` : `; the build cache gave back ${gigabytes(cache.reclaimed_bytes)}`;
  const names = removed.slice(0, MOST_NAMES).map(({ image, reason }) => line("idle", image, reason));
  const more = removed.length > names.length ? [line("idle", "…", `and ${removed.length - names.length} more`)] : [];
  return [line(removed.length && isTrial ? "warn" : "ok", removed.length && isTrial ? "!" : "✓", `${said}${built}.`), ...names, ...more];
}

async function copy(id) {
  const part = document.getElementById(id);
  try {
    await navigator.clipboard.writeText(part.textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(part);
    say("Your browser does not let this page copy; the text is marked, press Ctrl+C.", "warn");
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.check) await into(button, (id) => tested(button, id));
  else if (button.dataset.test) await into(button, () => greeted(button));
  else if ("doctor" in button.dataset) await into(button, async () => (await call("GET", "/api/v1/doctor")).map(shown));
  else if ("retention" in button.dataset) await into(button, async () => swept(await call("POST", "/api/v1/retention?dry_run=true")));
  else if (button.dataset.copy) await copy(button.dataset.copy);
});

document.addEventListener("called", ({ target, detail }) => {
  if (target.id === "clean-up") put("retention", swept(detail));
  showSecret(target, detail?.token ?? detail?.secret);
  if (!target.matches("form")) return;
  // What was sent is no entry to be kept: the page that is read anew shows it.
  if (target.id.startsWith("new-")) target.reset();
  target.removeAttribute("data-keep");
  const details = target.closest(".entry details");
  if (details) {
    details.open = false;
    details.querySelector("summary").focus();
  }
});

// What is shown once: the token that was made, or the secret that a channel signs with.
function showSecret(element, secret) {
  if (!element.dataset.secret) return;
  const part = document.getElementById("new-secret");
  part.hidden = !secret || secret === MASK;
  document.getElementById("secret-of").textContent = element.dataset.secret;
  document.getElementById("secret-value").textContent = part.hidden ? "" : secret;
  if (!part.hidden) part.scrollIntoView({ block: "nearest" });
}

document.addEventListener("renewed", () => {
  for (const [id, lines] of results) document.getElementById(id)?.replaceChildren(...lines);
});

document.querySelector("[data-doctor]")?.click();
