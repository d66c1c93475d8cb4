// The list of models: narrow, its rows are cards, in which each value has its column's name before it.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const heads = [...document.querySelectorAll("#result_list thead th")].map((head) => head.textContent.trim());
  document.querySelectorAll("#result_list tr.data-row").forEach((row) => {
    [...row.cells].forEach((cell, place) => { if (place && heads[place]) cell.dataset.label = heads[place]; });
  });
});
