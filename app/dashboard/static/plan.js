// Shows what something would do before it is done, and does it when the answer is yes.

import { isProvenance, rows } from "./changes.js";
import { call, say } from "./tagship.js";

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// A table of differences; `names` are the headings of what is before and after.
export function table(differences, caption, names) {
  const made = make("table", "diff cards");
  made.append(make("caption", "hide", caption));
  const head = made.createTHead().insertRow();
  for (const name of ["What", ...names]) {
    const cell = make("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const { path, label, before, after, added, removed } of rows(differences)) {
    const row = body.insertRow();
    const what = make("td", "what mono", label);
    what.title = path;
    const [old, now] = [make("td"), make("td")];
    old.dataset.label = names[0];
    now.dataset.label = names[1];
    old.append(added ? make("span", "muted", before) : make("del", "mono", before));
    now.append(removed ? make("span", "muted", after) : make("ins", "mono", after));
    row.append(what, old, now);
  }
  return made;
}

// Asks what `wish` (the body of POST …/plan) would do, shows it, and resolves to whether it shall be done. Rejects with
// the problem when it would be refused; when the engine is away, `blind` lets one go on without having seen it.
export async function show(product, wish, { title, yes, blind = false }) {
  const body = document.getElementById("plan-body");
  let plan = null;
  try {
    plan = await call("POST", `${product}/plan`, wish);
  } catch (problem) {
    if (!blind || problem.status !== 503) throw problem;
    body.replaceChildren(make("p", "error", `What would change cannot be shown: ${problem.detail}`), make("p", "", "It can be applied all the same: the rollout waits until the engine answers."));
  }
  if (plan) {
    body.replaceChildren(...parts(plan));
    if (!plan.rolls_out && !plan.fields.length) {
      say("Nothing differs from what the product is.");
      return false;
    }
  }
  const dialog = document.getElementById("plan");
  document.getElementById("plan-title").textContent = title;
  document.getElementById("plan-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  body.scrollTop = 0;
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function parts(plan) {
  const shown = [];
  const effects = make("ul", "effects");
  for (const sentence of plan.effects) effects.append(make("li", "", sentence));
  shown.push(effects);
  if (plan.fields.length) shown.push(make("h3", "", "In the product"), table(plan.fields, "What changes in the product", ["Now", "Then"]));
  const [labels, others] = [plan.changes.filter(({ path }) => isProvenance(path)), plan.changes.filter(({ path }) => !isProvenance(path))];
  if (plan.changes.length) shown.push(make("h3", "", "In its service on the swarm"));
  else if (plan.rolls_out) shown.push(make("p", "muted", "Nothing differs in its service on the swarm."));
  if (others.length) shown.push(table(others, "What changes in the service", ["Now", "Then"]));
  if (labels.length) {
    const more = make("details");
    more.append(make("summary", "muted", `${labels.length} label${labels.length === 1 ? "" : "s"} that say where it came from`), table(labels, "Labels that change", ["Now", "Then"]));
    shown.push(more);
  }
  return shown;
}
