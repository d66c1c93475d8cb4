// The list of models: narrow, its rows are cards; and it says aloud, once, when an import gets into another status.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const heads = [...document.querySelectorAll("#result_list thead th")].map((head) => head.textContent.trim());
  document.querySelectorAll("#result_list tr.data-row").forEach((row) => {
    [...row.cells].forEach((cell, place) => { if (place && heads[place]) cell.dataset.label = heads[place]; });
  });
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
