// Names for screen readers, and stops for the keyboard, where Django's and unfold's own parts have none.
"use strict";
(() => {
  const my = window.modelyard;
  const STOPS = "a[href], button, input, select, textarea, summary, [tabindex]";

  // --- Boxes that scroll sideways on a narrow screen ---
  const watched = new ResizeObserver((changes) => changes.forEach(({ target }) => {
    const needed = target.scrollWidth > target.clientWidth && !my.$(STOPS, target);
    if (needed) target.tabIndex = 0;
    else if (target.dataset.scrolls) target.removeAttribute("tabindex");
    target.dataset.scrolls = needed ? "1" : "";
  }));
  my.ready(() => my.$$(".my-scroll:not([tabindex])").forEach((box) => watched.observe(box)));

  // --- A date and a time that share one label ---
  my.ready(() => my.$$("input.vDateField, input.vTimeField").filter((field) => !field.labels.length).forEach((field) => {
    const label = my.$("label", field.closest("[class*='field-']") || document.createElement("p"));
    field.setAttribute("aria-label", [label && label.textContent.trim(), field.placeholder].filter(Boolean).join(" "));
  }));

  // --- The icons of Django's two boxes, which it makes when everything is there ---
  window.addEventListener("load", () => setTimeout(() => {
    my.$$(".search-label-icon[aria-label]").forEach((icon) => icon.setAttribute("role", "img"));
  }));
})();
