// The pages of one deployment: what changes is put in its place while one looks, without loading the page again.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const page = $("[data-parts-url]");
  if (!page) return;
  const FAST = 2000, SLOW = 10000, AWAY = 30000, PATIENCE = 30000;
  const my = window.modelyard;
  let tag = "", timer = null, asking = false, failed = 0, over = false;

  const said = $("[data-parts-said]");
  function tell(text) {
    if (said.textContent === text) return;
    said.textContent = text;
    said.hidden = !text;
  }
  const told = my.watch();

  // --- Parts ---
  $$("[data-part]").forEach(my.seed);
  const word = () => $("[data-part=status] .my-badge")?.textContent.trim();
  function put(part, fresh) {
    for (const name of ["data-moving"]) if (fresh.hasAttribute(name)) part.setAttribute(name, fresh.getAttribute(name));
    if (my.refill(part, fresh.innerHTML)) part.dispatchEvent(new CustomEvent("modelyard:part", { bubbles: true }));
  }
  function renew(fresh) {
    const moved = $("[data-part=offer]")?.dataset.moving, before = word();
    $$("[data-part]").forEach((part) => {
      const other = $(`[data-part="${part.dataset.part}"]`, fresh);
      if (other) put(part, other);
    });
    if (word() !== before) my.announce(`${$("h1", page).textContent}: ${word()}`);
    // "… is being deployed" isn't true any more.
    if (moved && !$("[data-part=offer]").dataset.moving) $$('ul > li[class~="*:mb-0!"]').forEach((each) => each.remove());
  }
  /** What is there instead of the page, if it isn't there any more. */
  function lost(answer) {
    if (answer.type === "opaqueredirect" || answer.status === 403) return page.dataset.sessionEnded;
    return answer.status === 404 ? page.dataset.gone : "";
  }
  async function look() {
    const headers = { "X-Modelyard-Parts": "1", ...(tag ? { "If-None-Match": tag } : {}) };
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(page.dataset.partsUrl, { headers, signal, redirect: "manual", cache: "no-store" });
    over = Boolean(lost(answer));
    tell(lost(answer));
    if (over || answer.status === 304) return;
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // A question that is open is about what is there: nothing is changed under it.
    tag = $("dialog[open]") ? "" : answer.headers.get("ETag") || "";
    if (!$("dialog[open]")) renew(fresh);
  }
  function pause() {
    if (over) return AWAY;
    return failed === 1 || (!failed && $("[data-part=offer]")?.dataset.moving) ? FAST : SLOW;
  }
  async function again() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      await look();
      failed = told(true);
    } catch (error) { failed = told(false, error); } finally { asking = false; }
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
