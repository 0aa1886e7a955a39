// What every page does: calls the API for its buttons and forms, follows what changes, and keeps times true.
//
// A button or form that changes something says so in attributes:
//   data-call="POST /api/v1/products/3/start"   what is called; a form sends its fields as JSON (see `fields`)
//   data-confirm="…"  data-title="…"            asked once before, in a dialog; data-yes is what its button says
//   data-then="reload" | "go:/path" | "none"     what follows when it went well; {id} in a path is the answer's id
//   data-done="…"                                a sentence that then appears
// A part of a page that shall stay true has an id and data-live="topic topic" (the topics of sql/queries/pulse.sql).

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
export const base = meta("base");

// Calls the API; resolves to the parsed answer (null for none), rejects with the problem document.
export async function call(method, path, body) {
  const headers = { "X-CSRF-Token": meta("csrf"), Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(base + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw { title: "No answer", detail: "Tagship does not answer. Check that it runs, then try again." };
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    // A proxy's own page: the status says enough.
  }
  if (!response.ok) throw answer?.detail ? answer : { title: response.statusText, status: response.status, detail: `The answer was ${response.status} ${response.statusText}.` };
  return answer;
}

// Shows a sentence in the corner; what is bad stays until it is closed.
export function say(sentence, tone = "ok") {
  const line = document.createElement("p");
  line.className = tone;
  const text = document.createElement("span");
  text.textContent = sentence;
  const close = document.createElement("button");
  close.textContent = "×";
  close.setAttribute("aria-label", "Close this message");
  close.addEventListener("click", () => line.remove());
  line.append(text, close);
  document.getElementById("toast").append(line);
  if (tone !== "bad") setTimeout(() => line.remove(), 6000);
}

// Asks once; resolves to whether the answer is yes.
export function ask(text, { title = "Are you sure?", yes = "Yes" } = {}) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// A form's fields as the JSON that the API takes. data-as says what a field is: number, bool (of a checkbox), lines (an
// array, one element a line), each (the values of those checkboxes of a name that are ticked), time (of the reader's zone),
// json; text otherwise. An empty field is left out, or null with data-empty="null", or [] with data-empty="list".
export function fields(form) {
  const body = {};
  for (const field of form.querySelectorAll("[name]")) {
    if (field.disabled || (field.type === "radio" && !field.checked)) continue;
    const as = field.dataset.as ?? "text";
    if (as === "bool") {
      body[field.name] = field.checked;
    } else if (as === "each") {
      const none = field.dataset.empty === "null" ? null : [];
      body[field.name] = field.checked ? [...(body[field.name] ?? []), field.value] : (body[field.name] ?? none);
    } else if (field.value.trim() === "") {
      if (field.dataset.empty === "null") body[field.name] = null;
      else if (field.dataset.empty === "list") body[field.name] = [];
    } else if (as === "number") {
      body[field.name] = Number(field.value);
    } else if (as === "lines") {
      body[field.name] = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    } else if (as === "time") {
      body[field.name] = new Date(field.value).toISOString();
    } else if (as === "json") {
      body[field.name] = JSON.parse(field.value);
    } else {
      body[field.name] = field.value;
    }
  }
  return body;
}

// Shows a problem where it belongs: beside the fields that it names, else in the corner.
export function showProblem(problem, form) {
  let left = [];
  for (const { loc, msg } of problem.errors ?? []) {
    const field = form?.querySelector(`[name="${CSS.escape(loc[0] === "query" ? loc[1] : loc[0])}"]`);
    if (!field) {
      left.push(`${loc.join(".")}: ${msg}`);
      continue;
    }
    const id = `error-of-${field.name}`;
    document.getElementById(id)?.remove();
    const line = document.createElement("p");
    line.className = "error";
    line.id = id;
    line.textContent = msg;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", id);
    field.after(line);
  }
  if (!problem.errors?.length) left = [problem.detail];
  if (left.length) say(left.join("; "), "bad");
  form?.querySelector('[aria-invalid="true"]')?.focus();
}

export function clearProblems(form) {
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    document.getElementById(`error-of-${field.name}`)?.remove();
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

async function act(element, form) {
  const { call: wanted, confirm, title, yes, then = "reload", done } = element.dataset;
  const [method, path] = wanted.split(" ");
  if (form) clearProblems(form);
  let body;
  try {
    body = form ? fields(form) : element.dataset.body ? JSON.parse(element.dataset.body) : undefined;
  } catch (error) {
    say(`A field is not valid JSON: ${error.message}`, "bad");
    return;
  }
  if (confirm && !(await ask(confirm, { title, yes }))) return;
  const buttons = form ? form.querySelectorAll("button:not([type=button])") : [element];
  for (const button of buttons) button.disabled = true;
  leaving = then.startsWith("go:");
  try {
    const answer = await call(method, path, body);
    if (done) say(done);
    element.dispatchEvent(new CustomEvent("called", { bubbles: true, detail: answer }));
    if (then.startsWith("go:")) location.assign(base + then.slice(3).replace("{id}", answer?.id ?? ""));
    else if (then === "reload") await refresh();
  } catch (problem) {
    leaving = false;
    if (problem instanceof Error) throw problem;
    showProblem(problem, form);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-call]");
  if (button) {
    event.preventDefault();
    act(button, null);
  }
});
document.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-call]")) {
    event.preventDefault();
    act(event.target, event.target);
  }
});

// ---------------------------------------------------------------- staying true

let reading = null;
// Set while a call is under way after which one goes elsewhere: what this page shows may be gone before the call ends.
let leaving = false;
addEventListener("pageshow", () => (leaving = false));

// Reads this page anew and puts in what differs of its live parts: of those of the topics, or of all. A part in which
// somebody types or whose menu is open waits for the next time.
export function refresh(topics) {
  reading = (reading ?? Promise.resolve()).then(() => readAnew(topics)).catch(() => undefined);
  return reading;
}

async function readAnew(topics) {
  if (leaving) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (response.redirected && new URL(response.url).pathname === `${base}/signin`) {
    location.assign(response.url);
    return;
  }
  if (leaving) return;
  if (response.status === 404) location.reload(); // what this page shows was deleted by somebody
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live][id]")) {
    if (topics && !part.dataset.live.split(" ").some((topic) => topics.includes(topic))) continue;
    const other = fresh.getElementById(part.id);
    if (other && !isBusy(part)) replace(part, other);
  }
}

function isBusy(part) {
  const active = document.activeElement;
  if (part.contains(active) && active.matches("input, select, textarea") && !active.matches("[type=checkbox]")) return true;
  return [...part.querySelectorAll("form[data-keep]")].some(isFilledIn);
}

// Whether a form holds what somebody entered and did not send yet. Only forms with data-keep are asked.
function isFilledIn(form) {
  return [...form.elements].some((field) => {
    if (field.matches("[type=checkbox]")) return field.checked !== field.defaultChecked;
    if (field.matches("select")) return [...field.options].some((one) => one.selected !== one.defaultSelected);
    return field.matches("input, textarea") && field.value !== field.defaultValue;
  });
}

// Puts the fresh part in, keeping what is open and where the focus is.
function replace(part, fresh) {
  const was = part.cloneNode(true);
  for (const time of was.querySelectorAll("time")) time.textContent = "";
  const is = fresh.cloneNode(true);
  for (const time of is.querySelectorAll("time")) time.textContent = "";
  for (const open of was.querySelectorAll("details[open]")) open.removeAttribute("open");
  for (const open of is.querySelectorAll("details[open]")) open.removeAttribute("open");
  for (const time of was.querySelectorAll("time[title]")) time.removeAttribute("title");
  if (was.isEqualNode(is)) return;
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const place = focused ? alike(part, focused).indexOf(focused) : -1;
  const put = document.importNode(fresh, true);
  for (const one of put.querySelectorAll("details[id]")) if (open.has(one.id)) one.open = true;
  part.replaceWith(put);
  showTimes(put);
  if (focused) alike(put, focused)[place]?.focus({ preventScroll: true });
  put.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
}

// What of a part is to people the same as an element of it or of its former self.
function alike(part, element) {
  const name = (one) => one.id || one.getAttribute("href") || one.textContent;
  return [...part.querySelectorAll(element.tagName)].filter((one) => name(one) === name(element));
}

function follow() {
  const state = document.getElementById("live-state");
  if (!state) return;
  const topics = new Set([...document.querySelectorAll("[data-live]")].flatMap((part) => part.dataset.live.split(" ")));
  const show = (text, tone) => {
    if (state.textContent === text) return;
    state.textContent = text;
    state.className = `chip ${tone}`;
  };
  const stream = new EventSource(`${base}/live`);
  stream.addEventListener("open", () => show("live", "ok"));
  stream.addEventListener("changed", (event) => {
    const changed = event.data.split(" ").filter((topic) => topics.has(topic));
    if (changed.length) refresh(changed);
  });
  stream.addEventListener("error", () => {
    show("not live: no connection", "warn");
    // A browser gives up for good when the answer is no stream, as after the session's end.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => refresh().then(follow), 5000);
  });
}

// ---------------------------------------------------------------- times

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function ago(moment, now) {
  const seconds = Math.round((moment - now) / 1000);
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  return Math.abs(seconds) > 30 * 86400 ? moment.toLocaleDateString() : relative.format(Math.trunc(seconds / length), unit);
}

export function showTimes(root) {
  const now = Date.now();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!time.title) time.title = moment.toLocaleString();
    const text = ago(moment, now);
    if (time.textContent !== text) time.textContent = text;
  }
}

showTimes(document);
setInterval(() => showTimes(document), 5000);
follow();
