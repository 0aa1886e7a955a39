// The steps of a build as a list of buttons, beside its log.

const MOST = 500;
const SIGNS = { run: "◐", done: "✓", cached: "≡", error: "✕", cancelled: "–" };
const WORDS = { run: "runs", done: "done", cached: "cached", error: "failed", cancelled: "not finished" };

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function took(seconds) {
  if (seconds === null) return "";
  const whole = Math.round(seconds);
  if (whole < 10) return `${seconds.toFixed(1)} s`;
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export class StepList {
  constructor(list) {
    this.list = list;
    this.current = -1;
    list.replaceChildren();
  }

  // Shows what has changed of the steps; `latest` is when something was written last, in ms, and `current` the step in view.
  show(steps, latest, current) {
    for (const number of steps.changed) this.#put(steps.list[number], number);
    steps.changed.clear();
    const running = steps.list.findLastIndex((step) => step.state === "run");
    const time = running >= 0 ? this.list.children[running]?.querySelector(".took") : null;
    const { began } = steps.list[running] ?? {};
    if (time && latest && began) time.textContent = took((latest - began) / 1000);
    if (current === this.current) return;
    this.list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    this.current = current;
    this.#mark();
  }

  #put(step, number) {
    if (number < MOST) {
      const entry = this.list.children[number] ?? this.list.appendChild(make("li"));
      entry.replaceChildren(this.#button(step, number));
      if (number === this.current) this.#mark();
    } else if (!this.list.children[MOST]) {
      this.list.append(make("li", "muted", `Only the first ${MOST} are listed.`));
    }
  }

  #mark() {
    this.list.children[this.current]?.querySelector("button")?.setAttribute("aria-current", "true");
  }

  #button(step, number) {
    const button = make("button", `step ${step.kind === "attempt" ? "attempt" : step.state}`);
    button.type = "button";
    button.dataset.step = number;
    if (step.kind === "attempt") {
      button.append(make("b", "", step.label));
      return button;
    }
    const sign = make("span", "sign", SIGNS[step.state]);
    sign.setAttribute("aria-hidden", "true");
    const word = make("span", step.state === "done" ? "hide" : "state", WORDS[step.state]);
    button.append(sign, make("span", "label", step.label), make("span", "took", took(step.seconds)), word);
    return button;
  }
}
