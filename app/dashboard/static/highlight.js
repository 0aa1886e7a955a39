// Where a text stands in a line that is made of spans. Pure.

// The spans, cut where the wanted text begins and ends, in whatever case; its parts have the classes `hit` besides.
export function highlighted(spans, wanted, hit) {
  if (!wanted) return spans;
  const text = wanted.toLowerCase();
  const whole = spans.map((span) => span.text).join("").toLowerCase();
  const cut = [];
  let begin = 0, at = whole.indexOf(text);
  for (const span of spans) {
    const end = begin + span.text.length;
    let from = begin;
    while (at >= 0 && at < end) {
      const start = Math.max(at, from), stop = Math.min(at + text.length, end);
      if (start > from) cut.push({ text: span.text.slice(from - begin, start - begin), classes: span.classes });
      cut.push({ text: span.text.slice(start - begin, stop - begin), classes: `${span.classes} ${hit}`.trim() });
      from = stop;
      if (at + text.length > end) break; // it goes on in the next span
      at = whole.indexOf(text, at + text.length);
    }
    if (from < end) cut.push({ text: span.text.slice(from - begin), classes: span.classes });
    begin = end;
  }
  return cut;
}
