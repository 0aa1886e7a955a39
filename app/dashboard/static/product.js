// /products/{id}: shows what a change would do before it is done; asks the engine for tasks, drift and logs by itself,
// since it may be slow, or away.

import { PLAIN, spans, styleSheet } from "./ansi.js";
import { patchOf } from "./changes.js";
import { make, show, table } from "./plan.js";
import { clearFormProblems, showFormProblem, valuesOf } from "./product_form.js";
import { base, call, refresh, say, showProblem, showTimes } from "./tagship.js";

const MOST_LINES = 5000;
const LONGEST = 4000; // characters of a line that are shown
const AGAIN_MS = 5000;
const LOOK_MS = 10_000;
const SIGNS = { running: ["ok", "●"], failed: ["bad", "✕"], rejected: ["bad", "✕"], orphaned: ["bad", "✕"], complete: ["idle", "✓"], shutdown: ["idle", "■"], remove: ["idle", "■"] };

const panel = () => document.getElementById("product");
const api = `/api/v1/products/${panel().dataset.product}`;

// ---------------------------------------------------------------- what a change would do

async function plan(button) {
  const { plan: action, to, title, yes } = button.dataset;
  const body = to ? { to: Number(to) } : undefined;
  button.disabled = true;
  try {
    if (!(await show(api, { action, ...body }, { title, yes }))) return;
    const rollout = await call("POST", `${api}/${action}`, body);
    say(`Rollout ${rollout.id} is on its way.`);
    await refresh();
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    showProblem({ ...problem, errors: [] });
  } finally {
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-plan]");
  if (button) plan(button);
});

// ---------------------------------------------------------------- the form

const form = () => document.getElementById("edit-product");
let first = form() && valuesOf(form());

function isTouched() {
  try {
    return Object.keys(patchOf(first, valuesOf(form()))).length > 0;
  } catch {
    return true;
  }
}

async function change() {
  clearFormProblems(form());
  const button = form().querySelector("button.primary");
  button.disabled = true;
  try {
    const patch = patchOf(first, valuesOf(form()));
    if (!Object.keys(patch).length) {
      say("Nothing is changed in the fields.");
      return;
    }
    const name = document.getElementById("product-name").textContent;
    if (!(await show(api, { action: "change", change: patch }, { title: `Change ${name}?`, yes: button.dataset.yes, blind: true }))) return;
    await call("PATCH", api, patch);
    say("The change is applied.");
    await renewForm();
    await refresh();
  } catch (problem) {
    showFormProblem(problem, form());
  } finally {
    button.disabled = false;
  }
}

// Reads the page anew and puts the fresh form in.
async function renewForm() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("edit-product");
  if (!fresh) return;
  form().replaceWith(document.importNode(fresh, true));
  first = valuesOf(form());
  document.getElementById("outdated").hidden = true;
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "edit-product") return;
  event.preventDefault();
  change();
});
document.addEventListener("reset", (event) => {
  if (event.target.id !== "edit-product") return;
  event.preventDefault(); // rows of variables come and go: the browser's own reset would not bring them back
  renewForm();
});
document.getElementById("reload-form")?.addEventListener("click", () => renewForm());

// ---------------------------------------------------------------- tasks

// Puts in what the engine answered, where it differs; what is open stays open, and the focus where it is.
function put(place, known, nodes) {
  place.removeAttribute("aria-busy");
  if (place.dataset.known === known) return;
  place.dataset.known = known;
  const open = place.querySelector("details")?.open;
  const focused = place.contains(document.activeElement) ? document.activeElement.tagName : "";
  place.replaceChildren(...nodes());
  if (open && place.querySelector("details")) place.querySelector("details").open = true;
  if (focused) place.querySelector(focused)?.focus({ preventScroll: true });
  showTimes(place);
}

function putProblem(place, problem) {
  const sentence = problem.detail ?? String(problem);
  put(place, sentence, () => [make("p", "error", sentence)]);
}

async function showTasks() {
  const place = document.getElementById("tasks");
  try {
    const tasks = await call("GET", `${api}/tasks`);
    put(place, JSON.stringify(tasks), () => [tasks.length ? tasksTable(tasks) : make("p", "empty", "No task runs, and the swarm remembers none.")]);
  } catch (problem) {
    putProblem(place, problem);
  }
}

function tasksTable(tasks) {
  const lives = tasks.filter((task) => !["complete", "shutdown", "failed", "rejected", "remove", "orphaned"].includes(task.state));
  const over = tasks.filter((task) => !lives.includes(task)).slice(0, 20);
  const box = make("div");
  if (lives.length) box.append(tableOf(lives, "Tasks that live"));
  else box.append(make("p", "empty", "No task runs now."));
  if (over.length) {
    const earlier = make("details");
    earlier.append(make("summary", "muted", `${over.length} earlier`), tableOf(over, "Earlier tasks"));
    box.append(earlier);
  }
  return box;
}

function tableOf(tasks, caption) {
  const made = make("table", "cards");
  made.append(make("caption", "hide", caption));
  const head = made.createTHead().insertRow();
  for (const name of ["Task", "Node", "State", "Version", "Since"]) {
    const cell = make("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const task of tasks) {
    const row = body.insertRow();
    const [tone, sign] = SIGNS[task.state] ?? ["run", "◐"];
    const chip = make("span", `chip ${tone}`);
    const hidden = make("span", "", sign);
    hidden.setAttribute("aria-hidden", "true");
    chip.append(hidden, ` ${task.state}`);
    const state = make("div");
    state.append(chip);
    const wrong = [task.error, task.exit_code ? `exit code ${task.exit_code}` : ""].filter(Boolean).join(", ");
    if (wrong) state.append(make("p", "clip muted", wrong));
    const version = make("div");
    version.append(make("span", "mono", task.image_name ?? task.image.slice(0, 19)));
    if (task.commit_sha) version.append(" ", make("span", "muted mono", task.commit_sha.slice(0, 7)));
    const since = make("time");
    since.dateTime = task.since;
    for (const [label, content] of [["Task", `${task.slot}`], ["Node", task.node || "—"], ["State", state], ["Version", version], ["Since", since]]) {
      const cell = row.insertCell();
      cell.dataset.label = label;
      cell.append(content);
    }
  }
  return made;
}

// ---------------------------------------------------------------- drift

async function showDrift() {
  const place = document.getElementById("drift");
  try {
    const drift = await call("GET", `${api}/drift`);
    put(place, JSON.stringify([drift, place.dataset.runs]), () => driftShown(drift, place.dataset));
  } catch (problem) {
    putProblem(place, problem);
  }
}

function driftShown(drift, { runs, may, name }) {
  const wrong = ["drifted", "missing", "foreign"].includes(drift.state);
  const words = drift.state.replace("_", " ");
  const line = make("p");
  if (wrong) line.append(make("span", "chip warn", `≠ ${words}`));
  else if (drift.state === "in_step") line.append(make("span", "chip ok", "✓ as rolled out"));
  else line.append(make("span", "chip idle", `○ ${words}`));
  const at = make("time");
  at.dateTime = drift.checked_at;
  const when = make("span", "muted", " Compared ");
  when.append(at);
  line.append(` ${drift.sentence}`, when);
  const shown = [line];
  if (drift.differences.length) shown.push(table(drift.differences, "What was changed outside Tagship", [`Rollout ${drift.rollout_id}`, "On the swarm"]));
  if (wrong && drift.state !== "foreign" && may !== undefined) {
    const mend = make("button", "primary", "Put it right");
    const [title, yes] = runs === "stop" ? [`Stop ${name} once more?`, "Stop"] : [`Redeploy ${name}?`, "Redeploy"];
    Object.assign(mend.dataset, { plan: runs, title, yes });
    shown.push(mend);
  }
  return shown;
}

document.getElementById("compare").addEventListener("click", () => showDrift());
document.getElementById("tasks-again").addEventListener("click", () => showTasks());

// ---------------------------------------------------------------- container logs

const view = document.getElementById("output-view");
const filter = document.getElementById("output-filter");
const count = document.getElementById("output-count");
const followButton = document.getElementById("output-follow");

const log = { source: null, queue: [], pens: new Map(), lines: 0, follows: true, frame: 0, over: "", again: 0 };

function open(tail = 200) {
  log.source?.close();
  log.over = "";
  log.source = new EventSource(`${base}${api}/logs?follow=true&tail=${tail}`);
  log.source.addEventListener("log", ({ data, lastEventId }) => {
    log.queue.push([data, lastEventId]);
    if (log.queue.length > MOST_LINES) log.queue.splice(0, log.queue.length - MOST_LINES);
    draw();
  });
  log.source.addEventListener("end", ({ data }) => {
    log.source.close();
    log.over = data;
    draw();
  });
  log.source.addEventListener("error", () => {
    if (log.source.readyState !== EventSource.CLOSED || log.over) return;
    count.textContent = "The logs do not come: the engine is away, or you are signed out.";
    clearTimeout(log.again);
    log.again = setTimeout(() => {
      clear();
      open();
    }, AGAIN_MS);
  });
}

function clear() {
  view.replaceChildren();
  log.queue = [];
  log.lines = 0;
  log.pens.clear();
  draw();
}

function draw() {
  log.frame ||= requestAnimationFrame(() => {
    log.frame = 0;
    const rows = log.queue.splice(0, 500).map(row);
    log.lines += rows.length;
    view.append(...rows);
    while (view.childElementCount > MOST_LINES) view.firstElementChild.remove();
    if (log.follows) view.scrollTop = view.scrollHeight;
    const number = `${log.lines.toLocaleString("en")} line${log.lines === 1 ? "" : "s"}`;
    const end = { stopped: "No container runs.", removed: "The service is gone." }[log.over] ?? log.over;
    const kept = log.lines > MOST_LINES ? `, the last ${MOST_LINES.toLocaleString("en")} are kept` : "";
    const state = log.over ? (log.lines ? `${number}. ${end}` : `Nothing to read. ${end}`) : log.lines ? `${number}${kept}` : "Nothing is written yet.";
    if (count.textContent !== state) count.textContent = state;
    if (log.queue.length) draw();
  });
}

function row([data, id]) {
  const [at, slot, task, stream] = id.split(" ");
  const line = make("div", stream === "stderr" ? "line stderr" : "line");
  const moment = new Date(at);
  const number = make("span", "no", slot && slot !== "0" ? `task ${slot}` : "");
  number.title = `${Number.isNaN(moment.getTime()) ? at : moment.toLocaleString()} · ${stream ?? ""} · ${task ?? ""}`;
  const pen = `${task} ${stream}`;
  const { spans: parts, style, left } = spans(data, log.pens.get(pen) ?? PLAIN, LONGEST);
  log.pens.set(pen, style ?? PLAIN);
  const text = make("span", "text");
  for (const part of parts) text.append(part.classes ? make("span", part.classes, part.text) : part.text);
  if (left) text.append(make("span", "left", ` … ${left.toLocaleString("en")} more characters`));
  line.append(number, text);
  line.hidden = !matches(line);
  return line;
}

function matches(line) {
  const wanted = filter.value.toLowerCase();
  return !wanted || line.lastElementChild.textContent.toLowerCase().includes(wanted);
}

function follow(yes) {
  log.follows = yes;
  followButton.setAttribute("aria-pressed", String(yes));
  followButton.textContent = yes ? "Following" : "Follow";
  if (yes) view.scrollTop = view.scrollHeight;
}

const sheet = new CSSStyleSheet(); // as in log.js: the colours of terminals, which only a log needs
sheet.replaceSync(styleSheet());
document.adoptedStyleSheets.push(sheet);
document.getElementById("output-tools").hidden = view.hidden = false;
filter.addEventListener("input", () => {
  for (const line of view.children) line.hidden = !matches(line);
});
followButton.addEventListener("click", () => follow(!log.follows));
document.getElementById("output-clear").addEventListener("click", () => clear());
view.addEventListener("scroll", () => {
  const atEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - 30;
  if (atEnd !== log.follows && (atEnd || view.scrollTop < (log.seen ?? 0) - 1)) follow(atEnd);
  log.seen = view.scrollTop;
});

// ---------------------------------------------------------------- staying true

let status = panel().dataset.status;
document.addEventListener("renewed", (event) => {
  if (event.target.id !== "product") return;
  const { dataset } = panel();
  document.getElementById("drift").dataset.runs = document.getElementById("start") ? "stop" : "redeploy";
  showTasks();
  if (dataset.status !== status && dataset.status !== "deploying") showDrift();
  if (log.over && dataset.status !== status && ["deploying", "running"].includes(dataset.status)) {
    clear();
    open();
  }
  status = dataset.status;
  if (form() && dataset.mark !== form().dataset.mark) {
    if (isTouched()) document.getElementById("outdated").hidden = false;
    else renewForm();
  }
});
setInterval(() => {
  if (!document.hidden) showTasks();
}, LOOK_MS);

for (const id of ["tasks", "drift"]) document.getElementById(id).setAttribute("aria-busy", "true");
showTasks();
showDrift();
open();
