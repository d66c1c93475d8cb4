// The list of models: says aloud, once, when the import of one gets into another status.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("[data-live-said]");
  if (!place) return;
  const word = (cell) => (cell.querySelector(".my-badge") || cell).textContent.trim();
  document.querySelectorAll("[data-live-status]").forEach((cell) => {
    let last = word(cell);
    new MutationObserver(() => {
      const now = word(cell);
      if (now !== last) place.textContent = `${cell.dataset.liveName}: ${now}`;
      last = now;
    }).observe(cell, { childList: true, subtree: true, characterData: true });
  });
});
