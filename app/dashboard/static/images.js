// /images: the tags on GitHub come by themselves, since GitHub may take its time; and they follow what is built.

import { showTimes } from "./tagship.js";

const tags = document.getElementById("tags");
let at = tags?.dataset.src;
let asked = 0;

// Puts in the part of the page at an address; the latest wish wins. A part in which somebody types is left alone.
async function put(address, { quietly = false } = {}) {
  const wish = ++asked;
  if (!quietly) tags.setAttribute("aria-busy", "true");
  let part = null, sentence = "Tagship does not answer. Check that it runs, then load the page again.";
  try {
    const response = await fetch(address, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    part = page.getElementById("tags");
    sentence = page.querySelector("main p")?.textContent ?? sentence;
  } catch {
    // The sentence says it.
  }
  if (wish !== asked) return;
  tags.removeAttribute("aria-busy");
  if (quietly && (!part || tags.querySelector("input:focus"))) return;
  at = new URL(address, location.href);
  at.searchParams.delete("anew"); // whoever follows builds does not ask GitHub again
  if (part) {
    const focused = tags.contains(document.activeElement) ? document.activeElement.id : "";
    tags.replaceChildren(...document.importNode(part, true).childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    showTimes(tags);
    if (!quietly) document.getElementById("tags-said").textContent = tags.querySelector("caption, .error, .empty")?.textContent ?? "";
    tags.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
  } else {
    const line = document.createElement("p");
    line.className = "error";
    line.textContent = sentence;
    tags.replaceChildren(line);
  }
}

if (tags) {
  put(at);
  tags.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-part]");
    if (!link) return;
    event.preventDefault();
    put(link.href);
  });
  tags.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-part]")) return;
    event.preventDefault();
    put(`${event.target.getAttribute("action")}?${new URLSearchParams(new FormData(event.target))}`);
  });
  // The list of images has changed: so may have what became of a tag.
  document.addEventListener("renewed", (event) => {
    if (event.target.id === "images") put(at, { quietly: true });
  });
}
