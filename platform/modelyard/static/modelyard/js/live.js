// Statuses that follow what happens: asked for every two seconds while something moves, every ten while nothing does,
// and not at all while nobody looks.
"use strict";
(() => {
  const my = window.modelyard;

  function typing() {
    const at = document.activeElement;
    return at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && at.id !== "follow";
  }

  my.ready(() => {
    const place = my.$("[data-live-url]");
    if (!place) return;
    const ids = () => [...new Set(my.$$("[data-live-status]").map((cell) => cell.dataset.liveStatus))];
    const shown = new Map(); // what came last, as it came: the page's own script changes times in it
    const words = new Map();
    let moving = true;

    function put(id, row) {
      for (const cell of my.$$(`[data-live-status="${id}"]`)) {
        if (shown.get(id) !== row.status) cell.innerHTML = row.status;
      }
      shown.set(id, row.status);
      const actions = my.$(`[data-live-actions="${id}"]`);
      const before = words.get(id) || (actions && actions.dataset.word);
      if (before && before !== row.word) {
        if (actions) actions.innerHTML = row.actions;
        my.announce(row.said || "");
      }
      words.set(id, row.word);
    }

    async function poll() {
      if (document.hidden || !ids().length) return;
      const answer = await my.ask(`${place.dataset.liveUrl}?ids=${ids().join(",")}`, { quiet: true });
      if (!answer.ok) return;
      const { rows } = await answer.json();
      moving = false;
      for (const [id, row] of Object.entries(rows)) {
        moving ||= row.moving;
        put(id, row);
        // A page of one deployment shows more than its status: it is loaded again when that changes.
        const reload = place.dataset.liveReload;
        if (reload && reload !== row.word && !my.$("dialog[open]") && !typing()) location.reload();
      }
    }

    const again = () => setTimeout(() => poll().catch(() => {}).finally(again), moving ? 2000 : 10000);
    poll().catch(() => {});
    again();
    document.addEventListener("visibilitychange", () => poll().catch(() => {}));
  });
})();
