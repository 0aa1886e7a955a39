// Finds the steps of a build in its log, line by line. Pure.
//
// Both builders write into it (app/engine/output.py, app/engine/trace.py): the classic one "Step 3/9 : RUN make" and what
// the step says, BuildKit "#7 [3/9] RUN make" and then every line of that step behind "#7 ", many steps side by side.

import { plain } from "./ansi.js";

const BUILDKIT = /^#([1-9]\d{0,8}) (.*)$/s;
const CLASSIC = /^Step (\d{1,6}\/\d{1,6}) : (.*)$/s;
const ATTEMPT = /^--- (attempt \d+ of \d+) ---$/;
const DONE = /^DONE (\d{1,9}(?:\.\d{1,9})?)s$/;
const SECONDS = /^(\d{1,9}\.\d{1,9}) /;
const LOUD = [
  /^(?:\S+\s+){0,2}(?:(?:error|exception|err|fatal|panic|traceback)\b|e:)/i,
  /^(?:\S+\s+){0,2}[\w.]*[a-z.](?:Error|Exception)\b/,
];
const LOOK = 240;
const LONGEST_LABEL = 300;

export class Steps {
  constructor() {
    // {label, kind: "step" | "attempt", first, last, state: run | done | cached | error | cancelled, seconds, began, loud,
    // prefixed, told}: first and last are its lines, `loud` the first of them that looks like an error, or -1; began is in
    // ms; `prefixed` says that all of its lines begin with its number, as BuildKit's do, and `told` is how many seconds
    // had passed when it said something last.
    this.list = [];
    this.changed = new Set();
    this.#begin();
  }

  #begin() {
    this.builder = "";
    this.numbers = new Map();
    this.current = -1;
  }

  // Takes the next line; the number of the step that it belongs to, or -1. `at` is when it was written, in ms, or null.
  take(line, index, at) {
    const step = this.#stepOf(line, index, at);
    if (step >= 0) {
      const taken = this.list[step];
      taken.last = index;
      const said = taken.prefixed ? this.#said(line, taken) : line;
      if (taken.loud < 0 && index !== taken.first && !said.startsWith("ERROR: ")) {
        const start = plain(said.slice(0, LOOK));
        if (LOUD.some((sign) => sign.test(start))) taken.loud = index;
      }
    }
    return step;
  }

  // What a line of BuildKit's says behind the step's number and the time.
  #said(line, step) {
    const text = line.slice(line.indexOf(" ") + 1), time = SECONDS.exec(text);
    if (!time) return text;
    step.told = Number(time[1]);
    return text.slice(time[0].length);
  }

  #stepOf(line, index, at) {
    if (line.startsWith("#") && this.builder !== "classic") {
      const found = BUILDKIT.exec(line);
      if (found) return this.#buildkit(Number(found[1]), found[2], index, at);
    } else if (line.startsWith("Step ") && this.builder !== "buildkit") {
      const found = CLASSIC.exec(line);
      if (found) {
        this.builder = "classic";
        this.#end(this.current, "done", at);
        return (this.current = this.#add(`[${found[1]}] ${found[2]}`, index, at));
      }
    } else if (line.startsWith("--- attempt ")) {
      const found = ATTEMPT.exec(line);
      if (found) {
        this.#interrupt();
        this.#begin();
        const label = found[1][0].toUpperCase() + found[1].slice(1);
        this.list[this.#add(label, index, null)].state = "done";
        this.list.at(-1).kind = "attempt";
        return -1;
      }
    }
    return this.builder === "classic" ? this.#classic(line, at) : this.#between(line);
  }

  #buildkit(number, text, index, at) {
    let step = this.numbers.get(number);
    if (step === undefined) {
      if (number !== this.numbers.size + 1) return -1; // the log names its steps in order: this is somebody's output
      this.builder = "buildkit";
      step = this.#add(text, index, at);
      this.numbers.set(number, step);
      return (this.current = step);
    }
    this.current = step;
    const done = DONE.exec(text);
    if (done) this.#end(step, "done", null, Number(done[1]));
    else if (text === "CACHED") this.#end(step, "cached");
    else if (text === "CANCELED") this.#end(step, "cancelled");
    else if (text.startsWith("ERROR: ")) this.#end(step, "error", at);
    return step;
  }

  #classic(line, at) {
    if (line === " ---> Using cache") this.#end(this.current, "cached");
    else if (line.startsWith("Successfully built ")) {
      this.#end(this.current, "done", at);
      this.current = -1;
    }
    return this.current;
  }

  // BuildKit leaves a line empty behind each step that ended.
  #between(line) {
    const before = this.current;
    this.current = -1;
    return line === "" ? before : -1;
  }

  #add(label, first, at) {
    const step = { label: label.slice(0, LONGEST_LABEL), kind: "step", first, last: first, state: "run", seconds: null, began: at, loud: -1, prefixed: this.builder === "buildkit", told: null };
    this.changed.add(this.list.push(step) - 1);
    return this.list.length - 1;
  }

  #end(number, state, at = null, seconds = null) {
    const step = this.list[number];
    if (!step || (step.state !== "run" && seconds === null)) return;
    step.state = state;
    // BuildKit may take a step up again: its times add up.
    if (seconds !== null) step.seconds = (step.seconds ?? 0) + seconds;
    else if (step.told !== null && state !== "cached") step.seconds = step.told;
    else if (at !== null && step.began !== null) step.seconds = Math.max(0, (at - step.began) / 1000);
    this.changed.add(number);
  }

  #interrupt(state = "cancelled") {
    this.list.forEach((step, number) => step.state === "run" && this.#end(number, state));
  }

  // The build is over: what still ran ended with it.
  finish(state, at = null) {
    if (this.builder === "classic" && state === "failed") this.#end(this.current, "error", at);
    if (state === "success") this.list.forEach((_, number) => this.#end(number, "done", at));
    this.#interrupt();
  }

  // The line to look at when something failed, or -1: the first of the step that failed which looks like an error, or
  // else its last one.
  get errorLine() {
    const failed = this.list.findLast((step) => step.state === "error");
    if (!failed) return -1;
    return failed.loud >= 0 ? failed.loud : Math.max(failed.first, failed.last);
  }
}
