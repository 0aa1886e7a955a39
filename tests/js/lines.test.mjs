import assert from "node:assert/strict";
import { test } from "node:test";

import { Lines } from "../../app/dashboard/static/lines.js";
import { Steps } from "../../app/dashboard/static/steps.js";
import { random } from "./random.mjs";

const MANY = 200_000;

function filled(text, end) {
  const lines = new Lines();
  lines.append(text);
  if (end) lines.finish(end);
  return lines;
}

test("wherever a log is cut into pieces, its lines are the same", () => {
  const text = "#1 [1/1] RUN x\n#1 0.1 a\x1b[31mb\n#1 0.2 c\r\n\n#1 DONE 0.3s\n\nERROR: no end";
  const whole = filled(text, "failed");
  const next = random(5);
  for (let round = 0; round < 200; round++) {
    const lines = new Lines();
    for (let at = 0; at < text.length; ) {
      const to = at + 1 + next(12);
      lines.append(text.slice(at, to));
      at = to;
    }
    lines.finish("failed");
    assert.deepEqual([...Array(lines.count).keys()].map((index) => lines.spansOf(index)), [...Array(whole.count).keys()].map((index) => whole.spansOf(index)));
    assert.deepEqual(lines.stepOf, whole.stepOf);
  }
});

test("a line that has no end yet is shown, and counted once", () => {
  const lines = filled("one\ntw");
  assert.deepEqual([lines.count, lines.textOf(1)], [2, "tw"]);
  lines.append("o\nthree");
  assert.deepEqual([lines.count, lines.textOf(1), lines.textOf(2)], [3, "two", "three"]);
  lines.finish("success");
  assert.equal(lines.count, 3);
});

test("each step is a terminal of its own: one's colour does not run into another's lines", () => {
  const lines = filled("#1 [1/2] a\n#2 [2/2] b\n#1 0.1 \x1b[31mred\n#2 0.1 plain\n#1 0.2 still red\n");
  assert.deepEqual(lines.spansOf(3).spans, [{ text: "#2 0.1 ", classes: "dim" }, { text: "plain", classes: "" }]);
  assert.deepEqual(lines.spansOf(4).spans, [{ text: "#1 0.2 ", classes: "dim" }, { text: "still red", classes: "f1" }]);
});

test("progress in a step of BuildKit overwrites what the step said, not the step's number", () => {
  const lines = filled("#1 [1/1] a\n#1 0.5 10%\r100%\n");
  assert.equal(lines.textOf(1), "#1 0.5 100%");
  assert.equal(filled("10%\r100%\n").textOf(0), "100%");
});

test("what is folded away leaves the first line of its step", () => {
  const lines = filled("head\n#1 [1/2] a\n#2 [2/2] b\n#1 0.1 x\n#2 0.1 y\n#1 0.2 z\n");
  lines.fold([0]);
  const shown = () => [...Array(lines.shown).keys()].map((row) => lines.lineAt(row));
  assert.deepEqual(shown(), [0, 1, 2, 4]);
  assert.equal(lines.rowOf(4), 3);
  assert.equal(lines.lineAt(lines.rowOf(3)), 2, "the row before a hidden line");
  lines.append("#1 0.3 hidden too\n#2 0.3 shown\n#2 0.4 un");
  assert.deepEqual(shown(), [0, 1, 2, 4, 7, 8]);
  lines.fold();
  assert.deepEqual(shown().slice(0, 3), [0, 1, 2]);
  lines.unfold();
  assert.equal(lines.shown, lines.count);
});

test("a text is found in whatever case, as one reads it", () => {
  const lines = filled("a\x1b[31mER\x1b[0mROR\nerror\n10%\rERROR\nnone\nerr");
  assert.deepEqual(lines.find("error", 0, lines.count), [0, 1, 2]);
  assert.deepEqual(lines.find("error", 1, 2), [1]);
  assert.deepEqual(lines.find("ERR", 3, 99), [4]);
});

test("a log of two hundred thousand lines: each is looked at once, and what is shown costs what is shown", (t) => {
  const take = t.mock.method(Steps.prototype, "take");
  const lines = new Lines();
  let text = "";
  for (let line = 0; line < MANY; line++) {
    text += line % 20 ? `#${Math.floor(line / 20) + 1} 0.1 \x1b[3${line % 8}mline ${line}\n` : `#${line / 20 + 1} [${line}] RUN x\n`;
    if (text.length > 65536) {
      lines.append(text);
      text = "";
    }
  }
  lines.append(text);
  lines.finish("success");
  assert.equal(lines.count, MANY);
  assert.equal(take.mock.callCount(), MANY);
  assert.equal(lines.steps.list.length, MANY / 20);
  const texts = lines.texts;
  let reads = 0;
  lines.texts = new Proxy(texts, {
    get(target, name) {
      if (typeof name === "string" && /^\d+$/.test(name)) reads++;
      return Reflect.get(target, name);
    },
  });
  for (let row = 150_000; row < 150_060; row++) lines.spansOf(lines.lineAt(row), 2000);
  assert.ok(reads <= 120, `${reads} lines were read to show 60`);
  lines.fold();
  assert.equal(lines.shown, MANY / 20);
  assert.equal(lines.lineAt(lines.rowOf(MANY - 1)), MANY - 20);
});

test("a line without an end costs no more than is shown of it", () => {
  const lines = new Lines();
  for (let piece = 0; piece < 300; piece++) lines.append("x".repeat(65536));
  const { spans, left } = lines.spansOf(0, 2000);
  assert.deepEqual([spans.length, spans[0].text.length, left], [1, 2000, 300 * 65536 - 2000]);
});
