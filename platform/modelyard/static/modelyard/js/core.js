// What the site's scripts share, as `window.modelyard`. It is loaded in the head, before unfold's own scripts.
"use strict";
window.modelyard = (() => {
  // unfold's Alpine sets widths with setAttribute("style", …), which the Content-Security-Policy refuses; the CSSOM
  // takes the same text.
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function set(name, value) {
    if (String(name).toLowerCase() === "style" && this.style) this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const ready = (run) => document.addEventListener("DOMContentLoaded", run);
  const token = () => ($("[name=csrfmiddlewaretoken]") || {}).value || "";

  /** A text of the interface, translated by the template; `{name}` in it is filled in. */
  const text = (name, values) => words("#my-texts")(name, values);

  /** The same for the texts of one page, which stand in the data-… attributes of an element. */
  const words = (selector) => (name, values = {}) => {
    const found = ($(selector) || { dataset: {} }).dataset[name] || "";
    return found.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
  };

  /** Said by screen readers, seen by nobody. */
  function announce(words) {
    const region = $("#my-live");
    if (region) region.textContent = words;
  }

  /** Seen until it is removed, and said. */
  function note(words, bad) {
    const place = $("#my-toasts");
    if (!place) return null;
    const made = document.createElement("p");
    made.className = bad ? "my-toast my-toast-bad" : "my-toast";
    made.textContent = words;
    place.append(made);
    return made;
  }

  /** Seen for some seconds, and said. */
  function toast(words, bad = false) {
    const made = note(words, bad);
    if (made) setTimeout(() => made.remove(), bad ? 12000 : 6000);
  }

  // --- Whether what the page follows can be asked for ---
  const away = new Map(); // who can't ask, and why
  let old = null;
  function tellAway() {
    const [words] = away.values();
    if (!words && old) { old.remove(); old = null; }
    if (words && !old) old = note(words, true);
    if (old && old.textContent !== words) old.textContent = words;
  }

  /** For one thing that a page follows: told after each look whether it went well. Two that didn't, one after the other,
   *  are said until one does. Gives how many in a row didn't. */
  function watch() {
    const me = {};
    let failed = 0;
    return (well, error) => {
      failed = well ? 0 : failed + 1;
      if (well) away.delete(me);
      else if (failed > 1) away.set(me, error && error.name === "SessionEnded" ? error.message : text("old"));
      tellAway();
      return failed;
    };
  }

  // --- Parts of a page that are put anew ---
  const put = new WeakMap(); // as the server gave it: the page's own scripts change the times in what stands there

  /** What stands in it now is as the server gave it: to be called before times.js changes it. */
  const seed = (part) => put.set(part, part.innerHTML);

  const keyOf = (node) => node.dataset.key || node.getAttribute("formaction") || node.getAttribute("href") || "";

  /** The focus, to be found again in what comes: by its key, or where it leads; else the part has it. */
  function focusIn(part) {
    const at = document.activeElement;
    if (at === part || !part.contains(at)) return () => {};
    const alike = () => $$(at.tagName, part).filter((each) => keyOf(each) === keyOf(at));
    const place = alike().indexOf(at);
    return () => {
      const all = alike();
      const found = all[place] || (keyOf(at) && all[0]);
      if (found) { found.focus({ preventScroll: true }); return; }
      part.tabIndex = -1;
      part.addEventListener("blur", () => part.removeAttribute("tabindex"), { once: true });
      part.focus({ preventScroll: true });
    };
  }

  /** Put what the server gives now, unless it gave the same before; what is open, scrolled and has the focus stays so. */
  function refill(part, given) {
    if (put.get(part) === given) return false;
    put.set(part, given);
    const open = $$("details[open][data-key]", part).map((each) => each.dataset.key);
    const scrolled = $$(".my-scroll", part).map((each) => each.scrollLeft);
    const focus = focusIn(part);
    part.innerHTML = given;
    $$("details[data-key]", part).forEach((each) => { if (open.includes(each.dataset.key)) each.open = true; });
    $$(".my-scroll", part).forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    focus();
    return true;
  }

  async function copy(words) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(words);
    // Plain http on another host has no clipboard: the old way still works there.
    const area = document.createElement("textarea");
    area.value = words;
    ($("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy");
  }

  return { $, $$, ready, token, text, words, announce, toast, watch, seed, refill, copy };
})();
