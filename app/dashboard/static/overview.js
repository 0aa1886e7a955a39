// /: a build under way says nothing when a second has passed, so that its clock runs here and its steps are asked for.
// And what was changed by hand on the swarm tells nobody: it is compared now and then, while somebody looks.

import { base, call, refresh, showTimes } from "./tagship.js";

const ASK_MS = 4000;
const COMPARE_MS = 120_000;
const MOST_DRIFTED = 20;
const MINUTE_S = 60, HOUR_S = 3600;
let began = performance.now();

// As `duration` of wording.py says it.
function duration(seconds) {
  const whole = Math.round(seconds);
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (whole < MINUTE_S) return `${whole} s`;
  const [unit, name, rest, other] = whole < HOUR_S ? [MINUTE_S, "min", 1, "s"] : [HOUR_S, "h", MINUTE_S, "min"];
  const left = Math.floor((whole % unit) / rest);
  return `${Math.floor(whole / unit)} ${name}${left ? ` ${left} ${other}` : ""}`;
}

function tick() {
  const passed = (performance.now() - began) / 1000;
  for (const flight of document.querySelectorAll(".flight.building")) {
    const clock = flight.querySelector("[data-elapsed]"), bar = flight.querySelector("progress");
    const elapsed = Number(clock.dataset.elapsed) + passed;
    clock.textContent = duration(elapsed);
    if (bar.dataset.usual) bar.value = Math.min(elapsed / Number(bar.dataset.usual), 0.98);
  }
}

document.addEventListener("renewed", (event) => {
  if (event.target.id === "flights") began = performance.now();
});
setInterval(tick, 1000);
setInterval(() => {
  if (!document.hidden && document.querySelector(".flight.building")) refresh(["progress"]);
}, ASK_MS);

// ---------------------------------------------------------------- what was changed by hand

let compared = -COMPARE_MS;

function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function need(subject, sentence, product) {
  const item = made("li", "need", "");
  const said = made("p", "", "");
  said.append(made("b", "", subject), `: ${sentence}`);
  const text = made("div", "", "");
  text.append(said);
  const sign = made("span", "chip warn", "");
  const shape = made("span", "", "≠");
  shape.setAttribute("aria-hidden", "true");
  sign.append(shape);
  item.append(sign, text);
  if (product !== null) {
    const link = made("a", "button", "Compare");
    link.href = `${base}/products/${product}`;
    link.append(made("span", "hide", ` ${subject}`));
    item.append(link);
  }
  return item;
}

async function compare() {
  if (document.hidden || performance.now() - compared < COMPARE_MS) return;
  compared = performance.now();
  let items = [], at = new Date().toISOString();
  try {
    const fleet = await call("GET", "/api/v1/drift");
    at = fleet.checked_at;
    items = fleet.drifted.slice(0, MOST_DRIFTED).map((one) => need(one.name, one.sentence, one.product_id));
    const left = fleet.drifted.length - items.length;
    if (left > 0) items.push(made("li", "muted", `and ${left} more`));
  } catch (problem) {
    if (problem instanceof Error) throw problem;
    items = [need("Services", `they could not be compared with what Tagship made of them: ${problem.detail}`, null)];
  }
  const moment = document.getElementById("drift-at");
  moment.dateTime = at;
  moment.removeAttribute("title");
  document.getElementById("drifted").replaceChildren(...items);
  document.getElementById("drift").hidden = items.length === 0;
  showTimes(document.getElementById("drift"));
}

compare();
setInterval(compare, 10_000);
document.addEventListener("visibilitychange", compare);
// A rollout puts a service right, or somebody looks at one that was changed.
document.addEventListener("renewed", (event) => {
  if (event.target.id === "products") compared = Math.min(compared, performance.now() - COMPARE_MS + 15_000);
});
