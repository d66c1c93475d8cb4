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

  /** Seen for some seconds, and said. */
  function toast(words, bad = false) {
    const place = $("#my-toasts");
    if (!place) return;
    const note = document.createElement("p");
    note.className = bad ? "my-toast my-toast-bad" : "my-toast";
    note.textContent = words;
    place.append(note);
    setTimeout(() => note.remove(), bad ? 12000 : 6000);
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

  return { $, $$, ready, token, text, words, announce, toast, copy };
})();
