// The lines of a log: taken in piece by piece, each looked at once; which of them are shown, and where a text is. Pure.

import { PLAIN, plain, spans, styleAfter } from "./ansi.js";
import { Steps } from "./steps.js";

const LOOK = 65536; // of a line without an end: as much as a row of the log holds
const PREFIX = /^#\d+ (?:\d+\.\d+ )?/;

export class Lines {
  constructor() {
    this.texts = [];
    this.steps = new Steps();
    this.tail = ""; // the last line as long as it has no end
    this.folded = new Set();
    this.stepOf = [];
    this.styles = new Map(); // the styles in which lines begin that do not begin plain
    this.pens = new Map(); // by step: each is a terminal of its own
    this.rows = null; // the lines that are shown; null: all
  }

  // How many lines there are.
  get count() {
    return this.texts.length + (this.tail ? 1 : 0);
  }

  // How many of them are shown.
  get shown() {
    return this.rows ? this.rows.length + (this.tail ? 1 : 0) : this.count;
  }

  // Takes text as it was written; `at` is when, in ms since 1970, or null.
  append(text, at = null) {
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#add(this.tail + text.slice(from, end), at);
      this.tail = "";
      from = end + 1;
    }
    if (from < text.length) this.tail += text.slice(from);
  }

  // Nothing follows: the build's end is `state`.
  finish(state, at = null) {
    if (this.tail) this.#add(this.tail, at);
    this.tail = "";
    this.steps.finish(state, at);
  }

  #add(text, at) {
    const line = text.endsWith("\r") ? text.slice(0, -1) : text;
    const index = this.texts.push(line) - 1;
    const step = this.steps.take(line, index, at);
    this.stepOf.push(step);
    const pen = this.pens.get(step) ?? PLAIN;
    if (pen !== PLAIN) this.styles.set(index, pen);
    if (line.includes("\x1b") || line.includes("\x9b")) this.pens.set(step, styleAfter(line, pen));
    if (this.rows && !this.#isHidden(index)) this.rows.push(index);
  }

  // The spans of a line as it would look in a terminal; see ansi.js.
  spansOf(index, most) {
    const text = index < this.texts.length ? this.texts[index] : this.tail;
    const own = this.#prefixOf(index, text);
    const shown = spans(text.slice(own, own + LOOK), this.styles.get(index), most);
    if (own) shown.spans.unshift({ text: text.slice(0, own), classes: "dim" });
    shown.left += Math.max(0, text.length - own - LOOK);
    return shown;
  }

  // What one reads of a line.
  textOf(index) {
    const text = index < this.texts.length ? this.texts[index] : this.tail;
    const own = this.#prefixOf(index, text);
    return own ? text.slice(0, own) + plain(text.slice(own)) : plain(text);
  }

  // How much of a line is BuildKit's own: what returns to the line's beginning returns behind that.
  #prefixOf(index, text) {
    const prefixed = this.steps.list[this.stepOf[index] ?? -1]?.prefixed;
    return prefixed ? (PREFIX.exec(text)?.[0].length ?? 0) : 0;
  }

  // The step that begins on a line; -1 when none does.
  stepAt(index) {
    const step = this.stepOf[index] ?? -1;
    return step >= 0 && this.steps.list[step].first === index ? step : -1;
  }

  #isHidden(index) {
    const step = this.stepOf[index];
    return step >= 0 && this.folded.has(step) && this.steps.list[step].first !== index;
  }

  // Hides all but the first line of these steps, of all by default.
  fold(steps = this.steps.list.keys()) {
    for (const step of steps) if (this.steps.list[step].kind === "step") this.folded.add(step);
    this.#choose();
  }

  unfold(steps = [...this.folded]) {
    for (const step of steps) this.folded.delete(step);
    this.#choose();
  }

  #choose() {
    this.rows = this.folded.size ? [...this.texts.keys()].filter((index) => !this.#isHidden(index)) : null;
  }

  // The line in a row.
  lineAt(row) {
    if (!this.rows) return row;
    return row < this.rows.length ? this.rows[row] : this.texts.length;
  }

  // The row of a line; of one that is hidden, that of its step's first line.
  rowOf(line) {
    if (!this.rows || line >= this.texts.length) return this.rows ? this.rows.length : line;
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.rows[middle] <= line) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // The lines from `from` to before `to` in which a text stands, in whatever case.
  find(text, from, to) {
    const wanted = text.toLowerCase(), found = [];
    for (let index = from; index < Math.min(to, this.count); index++) {
      if (this.textOf(index).toLowerCase().includes(wanted)) found.push(index);
    }
    return found;
  }
}
