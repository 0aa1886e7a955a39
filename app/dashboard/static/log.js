// The log of a build on the page of an image: what its buttons, keys and links do with the viewer.

import { styleSheet } from "./ansi.js";
import { Viewer, lineOf, part, viewer } from "./viewer.js";

const sheet = new CSSStyleSheet(); // made here: 768 rules that only a log needs, and no style in the page itself
sheet.replaceSync(styleSheet());
document.adoptedStyleSheets.push(sheet);

part("tools").hidden = part("frame").hidden = part("copy").hidden = false;
const log = new Viewer();
log.open();
log.draw();

part("follow").addEventListener("click", () => {
  log.follows = !log.follows;
  log.draw();
});
part("fold").addEventListener("click", () => {
  log.refold(() => (log.lines.folded.size ? log.lines.unfold() : log.lines.fold()));
});
part("copy").addEventListener("click", () => log.copy());
part("search").addEventListener("submit", (event) => {
  event.preventDefault();
  log.searchFor(part("query").value);
  log.step(1);
});
part("query").addEventListener("input", (event) => log.searchFor(event.target.value));
part("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    log.step(-1);
  }
});
part("previous").addEventListener("click", () => log.step(-1));
part("steps").addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (!button) return;
  log.goToStep(Number(button.dataset.step));
});
part("lines").addEventListener("click", (event) => {
  const fold = event.target.closest("[data-fold]");
  if (fold) {
    const step = Number(fold.dataset.fold);
    log.follows = false;
    log.refold(() => (log.lines.folded.has(step) ? log.lines.unfold([step]) : log.lines.fold([step])));
    part("lines").querySelector(`[data-fold="${step}"]`)?.focus({ preventScroll: true });
    return;
  }
  const number = event.target.closest("a.no");
  if (number && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    history.replaceState(null, "", number.getAttribute("href"));
    log.mark(lineOf(number.hash));
  }
});
addEventListener("hashchange", () => {
  const line = lineOf(location.hash);
  if (line < 0) return;
  log.mark(line);
  log.wanted = line;
});
document.addEventListener("click", (event) => {
  if (event.target.closest('[data-log="error"]')) log.jumpToError();
});
// The browser's own search sees only the rows that are in the page; the second time it comes.
viewer.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "f" && event.target !== part("query")) {
    event.preventDefault();
    part("query").focus();
    part("query").select();
  }
});
// The image has a newer build: whoever did not choose an older one reads on there.
document.addEventListener("renewed", () => {
  const { latest } = document.getElementById("image").dataset;
  if (latest !== log.build && viewer.dataset.chosen === undefined) {
    part("build").textContent = latest;
    for (const link of [part("text"), part("file")]) link.href = link.href.replace(/build=\d+/, `build=${latest}`);
    part("file").download = part("file").download.replace(/\d+\.log$/, `${latest}.log`);
    history.replaceState(null, "", location.pathname);
    log.restart(latest);
  }
  log.showState();
});
