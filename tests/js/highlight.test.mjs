import assert from "node:assert/strict";
import { test } from "node:test";

import { highlighted } from "../../app/dashboard/static/highlight.js";
import { random } from "./random.mjs";

const shown = (texts, wanted) =>
  highlighted(texts.map((text) => ({ text, classes: "" })), wanted, "hit").map(({ text, classes }) => (classes ? `[${text}]` : text)).join("|");

test("what is searched for is marked wherever it stands, also across spans", () => {
  assert.equal(shown(["an error, an ERROR"], "error"), "an |[error]|, an |[ERROR]");
  assert.equal(shown(["an er", "ro", "r here"], "error"), "an |[er]|[ro]|[r]| here");
  assert.equal(shown(["aaaa", "a"], "aa"), "[aa]|[aa]|a");
  assert.equal(shown(["nothing"], "error"), "nothing");
  assert.equal(shown(["as it is"], ""), "as it is");
});

test("whatever is searched for, the text stays the same, and what is marked is what was wanted", () => {
  const next = random(11);
  const word = (most) => Array.from({ length: next(most) }, () => "abA"[next(3)]).join("");
  for (let round = 0; round < 5000; round++) {
    const spans = Array.from({ length: next(5) }, () => ({ text: word(6), classes: "f1" }));
    const wanted = word(4);
    const cut = highlighted(spans, wanted, "hit");
    const whole = spans.map(({ text }) => text).join("");
    assert.equal(cut.map(({ text }) => text).join(""), whole);
    const marked = cut.filter(({ classes }) => classes.includes("hit")).map(({ text }) => text).join("").toLowerCase();
    const times = wanted ? whole.toLowerCase().split(wanted.toLowerCase()).length - 1 : 0;
    assert.equal(marked, wanted.toLowerCase().repeat(times));
  }
});
