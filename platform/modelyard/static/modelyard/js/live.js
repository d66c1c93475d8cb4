// Statuses that follow what happens: asked for every two seconds while something moves, every ten while nothing does,
// and not at all while nobody looks.
"use strict";
(() => {
  const my = window.modelyard;
  const SOON = 2000, LATER = 10000; // milliseconds
  const MOST = 200; // rows that one look may ask for

  // Somebody types, or has typed something that isn't sent yet.
  function typing() {
    const at = document.activeElement;
    if (at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && at.id !== "follow") return true;
    return my.$$("form[method=post] input:not([type=hidden]), form[method=post] textarea, form[method=post] select").some((field) => {
      if (/^(checkbox|radio)$/.test(field.type)) return field.checked !== field.defaultChecked;
      if (field.options) return [...field.options].some((each) => each.selected !== each.defaultSelected) && field.selectedIndex > 0;
      return field.value !== field.defaultValue;
    });
  }

  my.ready(() => {
    const place = my.$("[data-live-url]");
    if (!place) return;
    const ids = () => [...new Set(my.$$("[data-live-status]").map((cell) => cell.dataset.liveStatus))];
    const shown = new Map(); // what came last, as it came: the page's own script changes times in it
    const words = new Map();
    const told = my.watch();
    let moving = true, failed = 0;

    function put(id, row) {
      for (const cell of my.$$(`[data-live-status="${id}"]`)) {
        if (shown.get(id) !== row.status) cell.innerHTML = row.status;
      }
      shown.set(id, row.status);
      const actions = my.$(`[data-live-actions="${id}"]`);
      const before = words.get(id) || (actions && actions.dataset.word);
      if (before && before !== row.word) {
        if (actions) my.refill(actions, row.actions);
        my.announce(row.said || "");
      }
      words.set(id, row.word);
    }

    // It was deleted meanwhile: nothing more is asked of it.
    function gone(id) {
      const deleted = my.text("deleted");
      for (const cell of my.$$(`[data-live-status="${id}"]`)) {
        const badge = document.createElement("span");
        badge.className = "my-badge my-bad";
        badge.textContent = deleted;
        cell.replaceChildren(badge);
        delete cell.dataset.liveStatus;
        const name = my.$("a", cell.closest("tr") || document.createElement("tr"));
        my.announce(name ? `${name.firstChild.textContent.trim()}: ${deleted}` : deleted);
      }
      const actions = my.$(`[data-live-actions="${id}"]`);
      if (actions) actions.replaceChildren();
    }

    async function poll(asked) {
      const answer = await my.ask(`${place.dataset.liveUrl}?ids=${asked.join(",")}`, { quiet: true });
      if (!answer.ok) throw new Error(answer.status);
      const { rows } = await answer.json();
      if (my.$("dialog[open]")) return; // a question stands there that is about what is shown
      moving = false;
      asked.filter((id) => !(id in rows)).forEach(gone);
      for (const [id, row] of Object.entries(rows)) {
        moving ||= row.moving;
        put(id, row);
        // A page of one deployment shows more than its status: it is loaded again when that changes.
        const reload = place.dataset.liveReload;
        if (reload && reload !== row.word && !typing()) location.reload();
      }
    }

    async function look() {
      const asked = ids().slice(0, MOST);
      if (document.hidden || !asked.length) return;
      try {
        await poll(asked);
        failed = told(true);
      } catch (error) { failed = told(false, error); }
    }

    const again = () => setTimeout(() => look().finally(again), moving || failed === 1 ? SOON : LATER);
    look();
    again();
    document.addEventListener("visibilitychange", look);
  });
})();
