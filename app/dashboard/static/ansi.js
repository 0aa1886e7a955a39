// Terminal text as spans: what a line of output would look like in a terminal. Pure: no DOM, no state of its own.
//
// Colours and attributes (SGR: ECMA-48 8.3.117, xterm's 256 and true colours) become classes; carriage returns,
// backspaces and moves within the line overwrite as they do on a screen; every other sequence is dropped. Nothing hides
// text: "concealed" is not kept to, and the end of a sequence that has none is not searched for beyond its own line.

const BOLD = 1, DIM = 2, ITALIC = 4, UNDERLINE = 8, INVERSE = 16, STRIKE = 32;
const NAMES = [[BOLD, "bold"], [ITALIC, "italic"], [UNDERLINE, "underline"], [STRIKE, "strike"]];
const ON = { 1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 7: INVERSE, 9: STRIKE };
const OFF = { 21: BOLD, 22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 27: INVERSE, 29: STRIKE };
const NONE = -1;
const MOST_CODES = 64;
const MOST_COLUMNS = 4096; // as far as a move may go behind what is written

// The style that text has without any sequence: fg and bg are numbers of the palette, or -1.
export const PLAIN = Object.freeze({ fg: NONE, bg: NONE, flags: 0 });

// In this order: CSI; strings (OSC, DCS, SOS, PM, APC) with their end; other sequences; single control characters. A
// string's text holds no control character, so that a line full of beginnings is not read to its end for each.
const SEQUENCE = /(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
const MOVES = /[\r\b]|(?:\x1b\[|\x9b)\d*[CDGK]/;

// The spans of one line, [{text, classes}], and the style in which the next line goes on. At most `most` characters
// are kept; `left` is how many were not.
export function spans(line, style = PLAIN, most = Infinity) {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (!CONTROL.test(text)) return cut([{ text, style }], style, most);
  return MOVES.test(text) ? cut(...overwritten(text, style), most) : cut(...inARow(text, style), most);
}

// What one reads of a line: its text without sequences.
export function plain(line) {
  if (!CONTROL.test(line)) return line;
  return spans(line).spans.map((span) => span.text).join("");
}

// The style behind a line, without making its spans.
export function styleAfter(line, style) {
  let now = style;
  for (const [, params, between, final] of line.matchAll(SEQUENCE)) {
    if (final === "m" && !between) now = restyled(now, params);
  }
  return now;
}

function inARow(text, style) {
  const runs = [];
  let now = style, at = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    if (found.index > at) runs.push({ text: text.slice(at, found.index), style: now });
    at = found.index + found[0].length;
    if (found[3] === "m" && !found[2]) now = restyled(now, found[1]);
  }
  if (at < text.length) runs.push({ text: text.slice(at), style: now });
  return [runs, now];
}

function overwritten(text, style) {
  const cells = [], styles = [];
  let now = style, column = 0, at = 0;
  let written = 0; // before that, all is blank: a line full of erasures is not gone through for each
  const write = (part) => {
    for (const character of part) {
      while (cells.length < column) {
        styles.push(PLAIN);
        cells.push(" ");
      }
      written = Math.min(written, column);
      cells[column] = character;
      styles[column++] = now;
    }
  };
  const eraseTo = (end) => {
    for (let cell = written; cell < Math.min(end, cells.length); cell++) {
      cells[cell] = " ";
      styles[cell] = PLAIN;
    }
    written = Math.max(written, end);
  };
  for (const found of text.matchAll(SEQUENCE)) {
    write(text.slice(at, found.index));
    at = found.index + found[0].length;
    const [whole, params, between, final] = found;
    const number = Math.min(Number.parseInt(params, 10) || 0, MOST_COLUMNS);
    if (whole === "\r") column = 0;
    else if (whole === "\b") column = Math.max(0, column - 1);
    else if (between || !final || /[<-?]/.test(params)) continue;
    else if (final === "m") now = restyled(now, params);
    else if (final === "C") column = Math.min(column + (number || 1), Math.max(cells.length, column, MOST_COLUMNS));
    else if (final === "D") column = Math.max(0, column - (number || 1));
    else if (final === "G") column = Math.max(0, number - 1);
    else if (final === "K") {
      if (number !== 0) eraseTo(column + 1);
      if (number !== 1) cells.length = styles.length = Math.min(cells.length, column);
    }
  }
  write(text.slice(at));
  const runs = [];
  for (let cell = 0; cell < cells.length; cell++) {
    if (cell && styles[cell] === styles[cell - 1]) runs.at(-1).text += cells[cell];
    else runs.push({ text: cells[cell], style: styles[cell] });
  }
  return [runs, now];
}

function cut(runs, style, most) {
  const kept = [];
  let room = most, left = 0;
  for (const run of runs) {
    const text = run.text.length > room ? run.text.slice(0, room) : run.text;
    left += run.text.length - text.length;
    room -= text.length;
    if (text) kept.push({ text, classes: classesOf(run.style) });
  }
  return { spans: kept, style, left };
}

// ---------------------------------------------------------------- styles

function restyled(style, params) {
  if (/[<-?]/.test(params)) return style; // private sequences that also end in m, as xterm's
  let { fg, bg, flags } = style;
  const codes = params.split(";", MOST_CODES);
  for (let at = 0; at < codes.length; at++) {
    const parts = codes[at].split(":");
    const code = Number(parts[0] || 0);
    if (code === 0) [fg, bg, flags] = [NONE, NONE, 0];
    else if (code === 4 && parts[1] === "0") flags &= ~UNDERLINE;
    else if (ON[code]) flags |= ON[code];
    else if (OFF[code]) flags &= ~OFF[code];
    else if (code >= 30 && code <= 37) fg = code - 30;
    else if (code >= 90 && code <= 97) fg = code - 90 + 8;
    else if (code === 39) fg = NONE;
    else if (code >= 40 && code <= 47) bg = code - 40;
    else if (code >= 100 && code <= 107) bg = code - 100 + 8;
    else if (code === 49) bg = NONE;
    else if (code === 38 || code === 48 || code === 58) {
      const [colour, used] = parts.length > 1 ? [colourOf(parts.slice(1)), 0] : listed(codes, at);
      if (code === 38 && colour !== null) fg = colour;
      if (code === 48 && colour !== null) bg = colour;
      at += used;
    }
  }
  return fg === style.fg && bg === style.bg && flags === style.flags ? style : { fg, bg, flags };
}

// A colour written with semicolons, and how many codes it took.
function listed(codes, at) {
  const long = { 5: 2, 2: 4 }[codes[at + 1]] ?? 0;
  return [long ? colourOf(codes.slice(at + 1, at + 1 + long)) : null, long || 1];
}

// 5, n, or 2, …, r, g, b; null for anything else.
function colourOf([kind, ...numbers]) {
  const bytes = numbers.map((number) => Number(number || 0));
  if (!bytes.length || bytes.some((byte) => !(byte >= 0 && byte <= 255 && Number.isInteger(byte)))) return null;
  if (kind === "5") return bytes[0];
  return kind === "2" && bytes.length >= 3 ? nearest(...bytes.slice(-3)) : null;
}

// ---------------------------------------------------------------- colours

// The first 16 are ours, since terminals differ in them anyway; the others are xterm's.
const FIRST = [
  [72, 84, 98], [229, 83, 75], [87, 184, 104], [214, 162, 60], [88, 148, 245], [190, 130, 240], [62, 178, 190], [201, 209, 217],
  [125, 138, 152], [255, 138, 128], [126, 217, 140], [240, 196, 90], [130, 178, 255], [214, 166, 255], [100, 214, 224], [255, 255, 255],
];
const LEVELS = [0, 95, 135, 175, 215, 255];

export const PALETTE = Array.from({ length: 256 }, (_, number) => {
  if (number < 16) return FIRST[number];
  if (number >= 232) return Array(3).fill(8 + (number - 232) * 10);
  return [36, 6, 1].map((weight) => LEVELS[Math.floor((number - 16) / weight) % 6]);
});

// The number of the colour that is nearest to a true one.
export function nearest(red, green, blue) {
  const steps = [red, green, blue].map((level) => (level < 48 ? 0 : level < 115 ? 1 : Math.floor((level - 35) / 40)));
  const cube = 16 + 36 * steps[0] + 6 * steps[1] + steps[2];
  const grey = 232 + Math.max(0, Math.min(23, Math.round(((red + green + blue) / 3 - 8) / 10)));
  const distance = (number) => PALETTE[number].reduce((sum, level, part) => sum + (level - [red, green, blue][part]) ** 2, 0);
  return distance(grey) < distance(cube) ? grey : cube;
}

const GROUND = [27, 38, 50]; // of a marked line, the lightest that there is in a log: tagship.css
const ENOUGH = 4.5; // WCAG 2, 1.4.3

function luminance(colour) {
  const [red, green, blue] = colour.map((level) => {
    const share = level / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

export function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

// A colour made light enough to be read on the log's ground.
export function readable(colour) {
  let shown = colour;
  for (let white = 0.05; contrast(shown, GROUND) < ENOUGH; white += 0.05) {
    shown = colour.map((level) => Math.round(level + (255 - level) * white));
  }
  return shown;
}

// Black or white, whichever is read better on a ground.
function inkOn(ground) {
  return contrast([0, 0, 0], ground) >= ENOUGH ? [0, 0, 0] : [255, 255, 255];
}

// The classes of a style: fN is a text's colour, gN its ground, which has an ink of its own, and rN the exact colour of a
// text that is read well on the ground it was given.
export function classesOf({ fg, bg, flags }) {
  const names = NAMES.filter(([flag]) => flags & flag).map(([, name]) => name);
  let ink = fg, ground = bg;
  if (flags & INVERSE) [ink, ground] = [bg, fg === NONE ? 7 : fg];
  if (ground !== NONE) {
    names.push(`g${ground}`);
    if (ink !== NONE && contrast(PALETTE[ink], PALETTE[ground]) >= ENOUGH) names.push(`r${ink}`);
  } else if (ink !== NONE) {
    names.push(`f${ink}`);
  } else if (flags & DIM) {
    names.push("dim");
  }
  return names.join(" ");
}

// The style sheet of those classes.
export function styleSheet() {
  const rgb = (colour) => `rgb(${colour.join(" ")})`;
  const rules = [
    ...PALETTE.map((colour, number) => `.g${number}{background:${rgb(colour)};color:${rgb(inkOn(colour))}}`),
    ...PALETTE.map((colour, number) => `.r${number}{color:${rgb(colour)}}`),
    ...PALETTE.map((colour, number) => `.f${number}{color:${rgb(readable(colour))}}`),
  ];
  return rules.map((rule) => `.log ${rule}`).join("\n");
}
