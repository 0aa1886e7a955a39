// The log of a build as it is shown: of any length, as a terminal would. Only the rows that one sees are in the page; what
// comes in is taken in once per frame.

import { highlighted } from "./highlight.js";
import { Lines } from "./lines.js";
import { StepList, make } from "./steplist.js";
import { base, say } from "./tagship.js";

const ROW = 20; // px, as in tagship.css
const AROUND = 12; // rows that are made above and below those that one sees
const LONGEST = 2000; // characters of a line that are shown
const TALLEST = 8_000_000; // px: browsers cannot lay out much more, so beyond it the scroll bar stands for more than it shows
const FRAME_MS = 8;
const SEARCHED = 8_000; // lines per frame
const SAY_MS = 10_000;
const AGAIN_MS = 5000;

export const viewer = document.getElementById("log");
export const part = (name) => document.getElementById(`log-${name}`);
const [view, space, box] = ["view", "space", "lines"].map(part);

export class Viewer {
  constructor() {
    this.build = viewer.dataset.build;
    this.frame = 0;
    this.reset(viewer.dataset.active !== undefined);
    view.addEventListener("scroll", () => this.scrolled());
    new ResizeObserver(() => this.draw()).observe(view);
  }

  // `live`: the build was not over when one came, so that one wants to see what comes; else one begins to read.
  reset(live) {
    this.live = live;
    this.lines = new Lines();
    this.queue = [];
    this.over = null; // the state in which the build ended
    this.latest = null; // when the last piece was written, in ms
    this.rows = new Map(); // the rows in the page, by line
    this.query = "";
    this.matches = [];
    this.match = -1;
    this.searched = 0;
    this.marked = lineOf(location.hash);
    this.wanted = this.marked; // a line to show as soon as it is there
    this.follows = live && this.marked < 0;
    this.said = 0;
    this.seen = 0; // how far down the view was last, in px
    box.replaceChildren();
    this.list = new StepList(part("steps").firstElementChild);
  }

  // ------------------------------------------------------------ what comes in

  open() {
    this.source?.close();
    this.source = new EventSource(`${base}${this.address}&format=json`);
    this.source.addEventListener("log", ({ data }) => {
      const { at, text } = JSON.parse(data);
      this.queue.push([text, Date.parse(at)]);
      this.draw();
    });
    this.source.addEventListener("end", ({ data }) => {
      this.source.close();
      this.queue.push([null, data]);
      this.draw();
    });
    this.source.addEventListener("error", () => {
      if (this.source.readyState !== EventSource.CLOSED || this.over) return;
      // The answer was no stream: a proxy's, or that the session or the build is gone. It is read anew from the start.
      part("count").textContent = "The log does not come: no connection, or you are signed out.";
      setTimeout(() => this.restart(), AGAIN_MS);
    });
  }

  get address() {
    return `/api/v1/images/${viewer.dataset.image}/log?build=${this.build}`;
  }

  restart(build = this.build) {
    this.build = build;
    this.reset(this.live || build !== viewer.dataset.build);
    this.open();
  }

  take() {
    const until = performance.now() + FRAME_MS;
    let taken = 0;
    while (taken < this.queue.length && performance.now() < until) {
      const [text, at] = this.queue[taken++];
      if (text === null) this.end(at);
      else {
        this.lines.append(text, at);
        this.latest = at;
      }
    }
    this.queue.splice(0, taken);
  }

  end(state) {
    this.over = state || "over";
    this.lines.finish(state, this.latest);
    this.said = 0;
    // Whoever comes when it has failed wants to see the reason; whoever has read on sees it at the end.
    if (state === "failed" && !this.live && this.marked < 0) this.wanted = this.marked = this.lines.steps.errorLine;
  }

  // ------------------------------------------------------------ what is shown

  draw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.show();
    });
  }

  show() {
    if (this.queue.length) this.take();
    const { lines } = this;
    this.size();
    if (this.wanted >= 0 && (this.wanted < lines.count || this.over)) this.goTo(Math.min(this.wanted, lines.count - 1));
    if (this.follows) {
      view.scrollTop = view.scrollHeight;
      this.seen = view.scrollTop;
      this.follows = !this.over;
    }
    this.place();
    this.showSteps();
    this.showState();
    this.search();
    if (this.queue.length) this.draw();
  }

  size() {
    this.tall = this.lines.shown * ROW;
    space.style.height = `${Math.min(this.tall, TALLEST)}px`;
  }

  // How far down the first row that one sees is, in px of all rows, however tall the page may be.
  get top() {
    const room = space.offsetHeight - view.clientHeight;
    if (this.tall <= TALLEST || room <= 0) return view.scrollTop;
    return (view.scrollTop / room) * (this.tall - view.clientHeight);
  }

  set top(px) {
    const room = space.offsetHeight - view.clientHeight;
    const end = Math.max(0, Math.min(px, this.tall - view.clientHeight));
    view.scrollTop = this.tall <= TALLEST ? end : (end / (this.tall - view.clientHeight)) * room;
  }

  // Puts the rows in that one sees, in order, and keeps those that are there: a selection in them lives on.
  place() {
    const { lines } = this, { top } = this;
    const first = Math.max(0, Math.floor(top / ROW) - AROUND);
    const last = Math.min(lines.shown, Math.ceil((top + view.clientHeight) / ROW) + AROUND);
    const wanted = new Set();
    for (let row = first; row < last; row++) wanted.add(lines.lineAt(row));
    for (const [line, row] of this.rows) {
      if (!wanted.has(line) || line >= lines.texts.length || row.open) {
        row.element.remove();
        this.rows.delete(line);
      }
    }
    let next = box.firstElementChild;
    for (const line of wanted) {
      let row = this.rows.get(line);
      if (!row) this.rows.set(line, (row = { element: this.row(line), open: line >= lines.texts.length }));
      if (row.element === next) next = next.nextElementSibling;
      else box.insertBefore(row.element, next);
    }
    box.style.transform = `translateY(${view.scrollTop - (top - first * ROW)}px)`;
    this.visible = Math.floor(top / ROW);
  }

  row(line) {
    const row = make("div", line === this.marked ? "line marked" : "line");
    const number = make("a", "no", String(line + 1));
    number.href = `?build=${this.build}#L${line + 1}`;
    number.tabIndex = -1;
    number.setAttribute("aria-label", `Line ${line + 1}`);
    row.append(number);
    const step = this.lines.stepAt(line);
    if (step >= 0) {
      row.classList.add("head", this.lines.steps.list[step].state);
      const fold = make("button", "fold", this.lines.folded.has(step) ? "▸" : "▾");
      fold.dataset.fold = step;
      fold.type = "button";
      fold.setAttribute("aria-expanded", String(!this.lines.folded.has(step)));
      fold.setAttribute("aria-label", `Step ${this.lines.steps.list[step].label}`);
      row.append(fold);
    }
    const text = make("span", "text");
    const { spans, left } = this.lines.spansOf(line, LONGEST);
    const hit = line === this.matches[this.match] ? "hit now" : "hit";
    for (const span of highlighted(spans, this.query, hit)) text.append(span.classes ? make("span", span.classes, span.text) : span.text);
    if (left) text.append(make("span", "left", ` … ${left.toLocaleString("en")} more characters; see the plain text`));
    row.append(text);
    return row;
  }

  // All rows are made anew: what they show has changed.
  again() {
    this.rows.clear();
    box.replaceChildren();
    this.draw();
  }

  // ------------------------------------------------------------ where one is

  // Scrolling up is a wish to read there; a view that grew or shrank is none.
  scrolled() {
    const atEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - ROW * 1.5;
    const down = view.scrollTop - this.seen; // nothing when it was us who scrolled: whoever has paused stays so
    if (atEnd && down > 0) this.follows = !this.over && this.wanted < 0;
    else if (!atEnd && down < -1) this.follows = false;
    this.seen = view.scrollTop;
    this.draw();
  }

  // Shows a line, unfolding its step.
  goTo(line) {
    this.wanted = -1;
    if (line < 0) return;
    this.follows = false;
    const step = this.lines.stepOf[line];
    if (step >= 0 && this.lines.folded.has(step)) {
      this.lines.unfold([step]);
      this.again();
      this.size();
    }
    this.top = this.lines.rowOf(line) * ROW - view.clientHeight / 3;
    this.draw();
  }

  // Shows a step from its first line on.
  goToStep(step) {
    const { first } = this.lines.steps.list[step];
    this.follows = false;
    this.lines.unfold([step]);
    this.again();
    this.size();
    this.top = this.lines.rowOf(first) * ROW;
  }

  // Folds or unfolds, and stays where one is.
  refold(change) {
    const line = this.lines.lineAt(this.visible);
    change();
    this.again();
    this.size();
    if (!this.follows) this.top = this.lines.rowOf(line) * ROW;
    this.show();
  }

  mark(line) {
    this.marked = line;
    this.again();
  }

  jumpToError() {
    const line = this.lines.steps.errorLine;
    this.mark(line >= 0 ? line : this.lines.count - 1);
    this.goTo(this.marked);
    viewer.scrollIntoView({ block: "start" });
    view.focus({ preventScroll: true });
  }

  // ------------------------------------------------------------ searching

  searchFor(text) {
    if (text === this.query) return;
    this.query = text;
    [this.matches, this.match, this.searched] = [[], -1, 0];
    this.again();
  }

  search() {
    const { lines } = this;
    const whole = lines.texts.length + (this.over && lines.tail ? 1 : 0);
    if (this.query && this.searched < whole) {
      const to = Math.min(this.searched + SEARCHED, whole);
      for (const line of lines.find(this.query, this.searched, to)) this.matches.push(line);
      this.searched = to;
      if (this.match < 0 && this.matches.length) this.step(1);
      if (to < whole) this.draw();
    }
    const count = this.matches.length.toLocaleString("en");
    const found = !this.query ? "" : !this.matches.length ? (this.searched < whole ? "searching" : "no match") : `${(this.match + 1).toLocaleString("en")} of ${count} lines`;
    if (part("found").textContent !== found) part("found").textContent = found;
    part("previous").disabled = part("next").disabled = !this.matches.length;
  }

  // Goes to the next match, or the one before; the first time to the next from where one is.
  step(by) {
    if (!this.matches.length) return;
    if (this.match < 0) {
      const from = this.lines.lineAt(this.visible ?? 0);
      this.match = Math.max(0, this.matches.findIndex((line) => line >= from));
    } else {
      this.match = (this.match + by + this.matches.length) % this.matches.length;
    }
    this.again();
    this.goTo(this.matches[this.match]);
  }

  // ------------------------------------------------------------ what goes on

  showSteps() {
    const { steps, folded } = this.lines;
    for (const number of steps.changed) {
      const { first } = steps.list[number];
      this.rows.get(first)?.element.remove();
      this.rows.delete(first);
      this.draw();
    }
    this.list.show(steps, this.latest, this.lines.stepOf[this.lines.lineAt(this.visible + 2)] ?? -1);
    part("steps").hidden = part("fold").hidden = !steps.list.length;
    part("fold").setAttribute("aria-pressed", String(folded.size > 0));
  }

  showState() {
    const { lines, over } = this, { steps } = lines;
    const count = `${lines.count.toLocaleString("en")} line${lines.count === 1 ? "" : "s"}`;
    const running = steps.list.findLast((step) => step.state === "run");
    const now = over ? (lines.count ? count : "There is no log.") : lines.count ? `${count} so far` : "Nothing is written yet.";
    if (part("count").textContent !== now) part("count").textContent = now;
    const canJump = over === "failed" || steps.errorLine >= 0;
    for (const button of document.querySelectorAll('[data-log="error"]')) button.hidden = !canJump;
    const follow = part("follow");
    follow.hidden = Boolean(over);
    if (follow.getAttribute("aria-pressed") !== String(this.follows)) {
      follow.setAttribute("aria-pressed", String(this.follows));
      follow.textContent = this.follows ? "Following" : "Follow";
    }
    const time = performance.now();
    if (time < this.said) return;
    this.said = over ? Infinity : time + SAY_MS;
    const sentence = over ? `The build is over: ${over}. The log has ${count}.` : `${now}${running ? `; ${running.label}` : ""}`;
    if (part("said").textContent !== sentence) part("said").textContent = sentence;
  }

  async copy() {
    const text = Array.from({ length: this.lines.count }, (_, line) => this.lines.textOf(line)).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      say(`${this.lines.count.toLocaleString("en")} lines are copied.`);
    } catch {
      say("This browser does not let a page copy here (it needs HTTPS); take Download or Plain text instead.", "bad");
    }
  }
}

export function lineOf(hash) {
  const found = /^#L([1-9]\d{0,8})$/.exec(hash);
  return found ? Number(found[1]) - 1 : -1;
}
