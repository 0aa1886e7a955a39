// The form of a product's fields: reading it as what the API takes, its rows of variables, and its problems.

import { envOf, healthOf } from "./changes.js";
import { clearProblems, fields, showProblem } from "./tagship.js";

const MASK = "********";

// What the form holds, as the body of POST or PATCH /api/v1/products. Throws what is wrong with its variables.
export function valuesOf(form) {
  const rows = [...form.querySelectorAll(".env-row")];
  const env = envOf(rows.map((row) => [row.querySelector(".env-name").value, row.querySelector(".env-value").value]));
  const health = Object.fromEntries([...form.querySelectorAll("[data-health]")].map((field) => [field.dataset.health, field.value]));
  return { ...fields(form), env_vars: env, healthcheck: healthOf(health) };
}

// Shows a problem of the API, or an error of valuesOf, where it belongs.
export function showFormProblem(problem, form) {
  const line = form.querySelector("#env-error");
  if (problem instanceof Error) {
    line.textContent = problem.message;
    line.hidden = false;
    return;
  }
  // A plan's problems name the field behind "change".
  const errors = (problem.errors ?? []).map(({ loc, msg }) => ({ loc: loc[0] === "change" ? loc.slice(1) : loc, msg }));
  const left = [];
  for (const { loc, msg } of errors) {
    if (loc[0] === "env_vars") {
      line.textContent = [line.hidden ? "" : line.textContent, msg].filter(Boolean).join("; ");
      line.hidden = false;
    } else if (loc[0] === "healthcheck") {
      form.querySelector("#health").open = true;
      left.push({ loc: ["health check", ...loc.slice(1)], msg });
    } else {
      left.push({ loc, msg });
    }
  }
  if (left.length || !errors.length) showProblem({ ...problem, errors: left }, form);
  else line.scrollIntoView({ block: "center" });
}

export function clearFormProblems(form) {
  clearProblems(form);
  form.querySelector("#env-error").hidden = true;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-env]");
  if (!button) return;
  const rows = button.closest("form").querySelector("#env-rows");
  if (button.dataset.env === "add") {
    rows.append(document.importNode(document.getElementById("env-row").content, true));
    rows.lastElementChild.querySelector(".env-name").focus();
  } else {
    const row = button.closest(".env-row");
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("input") ?? button.closest("form").querySelector('[data-env="add"]'))?.focus();
  }
});
// Whoever types over a masked value replaces it as a whole.
document.addEventListener("focusin", (event) => {
  if (event.target.matches?.(".env-value") && event.target.value === MASK) event.target.select();
});
