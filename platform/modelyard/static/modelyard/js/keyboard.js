// What unfold makes clickable without a link or a button (the menu of a person, the theme, the filters) is reached and
// pressed by the keyboard too.
"use strict";
(() => {
  const my = window.modelyard;
  const LOOSE = "a:not([href])[x-on\\:click], div.cursor-pointer[x-on\\:click], span[x-on\\:click]";
  const loose = (node) => node.matches(LOOSE) && !node.closest("template");

  my.ready(() => {
    my.$$(LOOSE).filter(loose).forEach((node) => {
      node.tabIndex = 0;
      node.setAttribute("role", "button");
      if (!node.textContent.trim() && node.title) node.setAttribute("aria-label", node.title);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      if (!(event.target instanceof Element) || !loose(event.target)) return;
      event.preventDefault();
      event.target.click();
    });
    // The part that a page is about, for screen readers and for the link that leads past the menu.
    const main = my.$("#main");
    if (main) { main.setAttribute("role", "main"); main.tabIndex = -1; }
  });
})();
