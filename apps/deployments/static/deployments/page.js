// The pages of one deployment: what changes is put in its place while one looks, without loading the page again.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const page = $("[data-parts-url]");
  if (!page) return;
  const FAST = 2000, SLOW = 10000, AWAY = 30000;
  let tag = "", timer = null, asking = false, failed = 0;

  const said = $("[data-parts-said]");
  function tell(text) { said.textContent = text; said.hidden = !text; }

  // --- Parts ---
  // What is open, and where the focus is, stays so: both are found again by data-key.
  function put(part, fresh) {
    for (const name of ["data-moving"]) if (fresh.hasAttribute(name)) part.setAttribute(name, fresh.getAttribute(name));
    if (part.innerHTML === fresh.innerHTML) return;
    const open = $$("details[open][data-key]", part).map((each) => each.dataset.key);
    const focused = part.contains(document.activeElement) ? document.activeElement.dataset.key : "";
    const scrolled = $$(".my-scroll", part).map((each) => each.scrollLeft);
    part.replaceChildren(...fresh.childNodes);
    open.forEach((key) => { const each = $(`details[data-key="${key}"]`, part); if (each) each.open = true; });
    $$(".my-scroll", part).forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    if (focused) $(`[data-key="${focused}"]`, part)?.focus();
    part.dispatchEvent(new CustomEvent("modelyard:part", { bubbles: true }));
  }
  async function look() {
    const headers = { "X-Modelyard-Parts": "1", ...(tag ? { "If-None-Match": tag } : {}) };
    const answer = await fetch(page.dataset.partsUrl, { headers, redirect: "manual", cache: "no-store" });
    if (answer.status === 304) { failed = 0; tell(""); return; }
    if (answer.type === "opaqueredirect" || answer.status === 403) { failed += 1; tell(page.dataset.sessionEnded); return; }
    if (answer.status === 404) { failed += 1; tell(page.dataset.gone); return; }
    if (!answer.ok) { failed += 1; return; }
    failed = 0;
    tell("");
    tag = answer.headers.get("ETag") || "";
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // A question that is open is about what is there: nothing is changed under it.
    if ($("dialog[open]")) { tag = ""; return; }
    const moved = $("[data-part=offer]")?.dataset.moving;
    $$("[data-part]").forEach((part) => {
      const other = $(`[data-part="${part.dataset.part}"]`, fresh);
      if (other) put(part, other);
    });
    // "… is being deployed" isn't true any more.
    if (moved && !$("[data-part=offer]").dataset.moving) $$('ul > li[class~="*:mb-0!"]').forEach((each) => each.remove());
  }
  const pause = () => (failed ? AWAY : $("[data-part=offer]")?.dataset.moving ? FAST : SLOW);
  async function again() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try { await look(); } catch { failed += 1; } finally { asking = false; }
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(again, pause());
  }
  timer = setTimeout(again, pause());
  document.addEventListener("visibilitychange", () => { clearTimeout(timer); if (!document.hidden) again(); });

  // On a narrow screen the tab that one is on may be out of sight.
  const nav = $(".my-tabs"), here = $(".my-tabs [aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;

  // --- Tabs within a page ---
  function choose(tab) {
    for (const each of $$("[role=tab]", tab.closest("[data-tablist]"))) {
      const here = each === tab;
      each.setAttribute("aria-selected", String(here));
      each.tabIndex = here ? 0 : -1;
      const panel = document.getElementById(each.getAttribute("aria-controls"));
      if (panel) panel.hidden = !here;
    }
  }
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("[data-tablist] [role=tab]");
    if (tab) choose(tab);
  });
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.("[data-tablist] [role=tab]");
    if (!tab) return;
    const all = $$("[role=tab]", tab.closest("[data-tablist]")), at = all.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    choose(next);
    next.focus();
  });

  // --- Snippets, whole or streaming ---
  const streaming = $("#snippet-stream");
  streaming?.addEventListener("change", () => {
    $$("[data-snippet]").forEach((snippet) => {
      const button = $("[data-copy]", snippet), other = button.dataset.copyStream;
      if (!other) return;
      $(button.dataset.copyWhole).hidden = streaming.checked;
      $(other).hidden = !streaming.checked;
      button.dataset.copy = streaming.checked ? other : button.dataset.copyWhole;
    });
  });
  // --- Forms that the page's scripts answer ---
  $$("form[data-own]").forEach((form) => form.addEventListener("submit", (event) => { event.preventDefault(); event.stopPropagation(); }));
})();
