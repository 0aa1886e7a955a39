import assert from "node:assert/strict";
import { test } from "node:test";

import { PALETTE, PLAIN, classesOf, contrast, nearest, plain, readable, spans, styleAfter, styleSheet } from "../../app/dashboard/static/ansi.js";
import { random } from "./random.mjs";

const ESC = "\x1b[";
const shown = (line, style) => spans(line, style).spans.map(({ text, classes }) => (classes ? `<${classes}>${text}</>` : text)).join("");

test("text without sequences is itself", () => {
  for (const line of ["", "plain", "a\tb", "Zürich 日本 🚢", "<b onclick=x>&amp;"]) assert.equal(shown(line), line);
});

test("colours and attributes become classes", () => {
  const cases = {
    [`${ESC}31mred${ESC}0m.`]: "<f1>red</>.",
    [`${ESC}1;4;32mx`]: "<bold underline f2>x</>",
    [`${ESC}3;9mx${ESC}23mx${ESC}mx`]: "<italic strike>x</><strike>x</>x",
    [`${ESC}94;103mx`]: "<g11>x</>",
    [`${ESC}30;47mx`]: "<g7 r0>x</>",
    [`${ESC}38;5;208mx${ESC}39mx`]: "<f208>x</>x",
    [`${ESC}38:5:208mx`]: "<f208>x</>",
    [`${ESC}38;2;255;0;0mx`]: "<f196>x</>",
    [`${ESC}38:2::255:0:0mx`]: "<f196>x</>",
    [`${ESC}48;2;0;0;0mx`]: "<g16>x</>",
    [`${ESC}2mx`]: "<dim>x</>",
    [`${ESC}7mx`]: "<g7>x</>",
    [`${ESC}7;32mx${ESC}27mx`]: "<g2>x</><f2>x</>",
    [`${ESC}4:3mx${ESC}4:0mx`]: "<underline>x</>x",
    [`${ESC}38;5;300mx`]: "x",
    [`${ESC}38;9;1;31mx`]: "<bold f1>x</>",
    [`${ESC}?31mx`]: "x",
  };
  for (const [line, wanted] of Object.entries(cases)) assert.equal(shown(line), wanted, JSON.stringify(line));
});

test("a style goes on in the next line until it is ended", () => {
  const { style } = spans(`a${ESC}31mb`);
  assert.equal(shown("c", style), "<f1>c</>");
  assert.deepEqual(styleAfter(`${ESC}31mb${ESC}1m`, PLAIN), { fg: 1, bg: -1, flags: 1 });
  assert.equal(styleAfter(`${ESC}31mx${ESC}0m`, PLAIN).fg, -1);
});

test("a carriage return, a backspace and moves overwrite as on a screen", () => {
  const cases = {
    "10%\r20%\r100%": "100%",
    "abcdef\rxy": "xycdef",
    [`abcdef\r${ESC}Kxy`]: "xy",
    [`abcdef${ESC}2K\rxy`]: "xy    ",
    [`abc${ESC}1Kd`]: "   d",
    [`abcdef\rxy${ESC}1K`]: "   def",
    [`abcdef\rxy${ESC}1K\rz${ESC}1K`]: "   def",
    "abc\b\bx": "axc",
    [`${ESC}3Cx`]: "   x",
    [`abc${ESC}2Dx`]: "axc",
    [`abc${ESC}1Gx`]: "xbc",
    "done\r": "done",
    [`${ESC}31mold\r${ESC}32mne`]: "ned",
  };
  for (const [line, wanted] of Object.entries(cases)) assert.equal(plain(line), wanted, JSON.stringify(line));
  assert.equal(shown(`${ESC}31mold\r${ESC}32mne`), "<f2>ne</><f1>d</>");
});

test("every other sequence is dropped, and hides no text", () => {
  const cases = {
    [`${ESC}2J${ESC}Hx`]: "x",
    "\x1b]0;title\x07x": "x",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1bPq#0\x1b\\x": "x",
    "\x1b]no end": "no end",
    "\x1b(Bx\x1b7\x1b=": "x",
    "a\x00b\x07c\x7f": "abc",
    "\x9b31mx": "x",
    [`${ESC}8mshown`]: "shown",
    "a\x1b": "a",
  };
  for (const [line, wanted] of Object.entries(cases)) assert.equal(plain(line), wanted, JSON.stringify(line));
});

test("at most so much of a line is kept, and it is said how much was left", () => {
  const { spans: kept, left } = spans(`${ESC}31m${"x".repeat(30)}${ESC}0m${"y".repeat(30)}`, PLAIN, 40);
  assert.deepEqual(kept.map(({ text }) => text.length), [30, 10]);
  assert.equal(left, 20);
});

test("whatever comes, it is text without controls in classes that the style sheet has", () => {
  const sheet = styleSheet();
  const known = new Set([...sheet.matchAll(/\.log \.([fgr]\d+)\{/g)].map((found) => found[1]));
  for (const name of ["bold", "italic", "underline", "strike", "dim"]) known.add(name);
  assert.equal(known.size, 3 * 256 + 5);
  const parts = ["\x1b", "[", "]", "m", "K", "C", "D", "G", ";", ":", "38", "48", "2", "5", "7", "255", "999999999", "1", "\r", "\b", "\x9b", "\x9d", "\x07", "P", "?", " ", "<img>", "é", "🚢", "\u202e", "\x00", "J"];
  const next = random(7);
  let style = PLAIN;
  for (let round = 0; round < 20000; round++) {
    const line = Array.from({ length: next(24) }, () => parts[next(parts.length)]).join("");
    const result = spans(line, style, 100);
    for (const { text, classes } of result.spans) {
      assert.doesNotMatch(text, /[\x00-\x08\x0a-\x1f\x7f-\x9f]/, JSON.stringify(line));
      for (const name of classes.split(" ").filter(Boolean)) assert.ok(known.has(name), `${name} of ${JSON.stringify(line)}`);
    }
    assert.ok(result.spans.reduce((sum, { text }) => sum + text.length, 0) <= 100);
    assert.deepEqual(styleAfter(line, style), result.style);
    style = result.style;
  }
});

test("no more comes of a hostile line than it is long, however far its moves go", () => {
  for (const unit of ["\x1b]", "\x1bP", "\x9d", "\x1b[", "\x1b[0", "\x1b ", "\x1b]\x1b", "\r", "a\b", "\x1b[4096C", "\x1b[1;", "\x1b[31m"]) {
    const result = spans(unit.repeat(65536 / unit.length), PLAIN, 2000);
    assert.ok(result.left + 2000 < 65536 + 4096 + 2000, JSON.stringify(unit));
  }
  assert.ok(plain("\x1b[999999999C\x1b[999999999Cx").length <= 4097);
});

const GROUND = [27, 38, 50]; // .log .marked of tagship.css, which is lighter than --log

test("every text that has a colour can be read", () => {
  for (const colour of PALETTE) assert.ok(contrast(readable(colour), GROUND) >= 4.5);
  const sheet = styleSheet();
  const rgb = (text) => text.split(" ").map(Number);
  for (const [, ground, ink] of sheet.matchAll(/\.g\d+\{background:rgb\(([\d ]+)\);color:rgb\(([\d ]+)\)\}/g)) {
    assert.ok(contrast(rgb(ground), rgb(ink)) >= 4.5, ground);
  }
  for (let fg = 0; fg < 256; fg += 5) {
    for (let bg = 0; bg < 256; bg += 5) {
      const exact = /r(\d+)/.exec(classesOf({ fg, bg, flags: 0 }));
      if (exact) assert.ok(contrast(PALETTE[exact[1]], PALETTE[bg]) >= 4.5);
    }
  }
});

test("a true colour is shown as the nearest one there is", () => {
  for (let number = 16; number < 256; number++) {
    assert.deepEqual(PALETTE[nearest(...PALETTE[number])], PALETTE[number]);
  }
  assert.equal(nearest(254, 1, 1), 196);
});
