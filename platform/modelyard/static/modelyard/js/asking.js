// Confirmations, copying, and one click at a time.
"use strict";
(() => {
  const my = window.modelyard;

  // --- Copy buttons ---
  const labels = new Map(); // of those that say for a moment what has happened
  function say(button, words) {
    const before = labels.get(button);
    const label = before ? before.label : button.textContent;
    if (before) clearTimeout(before.timer);
    const timer = setTimeout(() => { button.textContent = label; labels.delete(button); }, 2000);
    labels.set(button, { label, timer });
    button.textContent = words;
    my.announce(words);
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await my.copy(my.$(button.dataset.copy).textContent.trim());
      say(button, `✓ ${my.text("copied") || "Copied"}`);
    } catch { say(button, my.text("copyByHand") || "Select and copy it"); }
  });

  // --- One click at a time: heard after session.js, which may hold a form back ---
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 4000);
  });

  my.ready(() => {
    my.$$("dialog [data-close]").forEach((button) => {
      button.addEventListener("click", () => button.closest("dialog").close());
    });

    // --- Confirmations ---
    const dialog = my.$("#my-confirm");
    if (!dialog) return;
    let pending = null;
    my.confirm = (words, then) => {
      my.$("#my-confirm-text").textContent = words;
      my.$("[data-yes]", dialog).disabled = false;
      pending = then;
      dialog.showModal();
    };
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-confirm]");
      if (!button || button.dataset.confirmed) return;
      event.preventDefault();
      my.confirm(button.dataset.confirm, () => {
        button.dataset.confirmed = "1";
        button.form.requestSubmit(button);
        delete button.dataset.confirmed;
      });
    });
    my.$("[data-yes]", dialog).addEventListener("click", (event) => {
      const then = pending;
      pending = null;
      event.target.disabled = true;
      dialog.close();
      if (then) then();
    });
  });

  // --- Copy cURL ---
  my.ready(() => {
    const dialog = my.$("#my-curl");
    if (!dialog) return;
    const fresh = my.$("[data-fresh]", dialog); // for who may make a key
    let current = null;
    function show(line, said) {
      const pre = my.$("[data-curl-line]", dialog);
      pre.hidden = !line;
      pre.textContent = line;
      my.$("[data-curl-said]", dialog).textContent = said;
    }
    async function give(line, said) {
      try { await my.copy(line); show(line, said); } catch { show(line, dialog.dataset.byHand); }
    }
    async function ask(method) {
      const answer = await my.ask(current, { method });
      const body = await answer.json().catch(() => ({ error: dialog.dataset.failed }));
      if (!answer.ok) throw new Error(body.error);
      return body;
    }
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-curl]");
      if (!button) return;
      current = button.dataset.curl;
      my.$("[data-curl-name]", dialog).textContent = button.dataset.name;
      if (fresh) fresh.disabled = false;
      show("", "");
      dialog.showModal();
    });
    if (fresh) fresh.addEventListener("click", async (event) => {
      event.target.disabled = true;
      try {
        const body = await ask("POST");
        await give(body.curl, dialog.dataset.copied.replace("{days}", body.days));
      } catch (error) { show("", error.message); event.target.disabled = false; }
    });
    my.$("[data-placeholder]", dialog).addEventListener("click", async () => {
      try { await give((await ask("GET")).curl, dialog.dataset.placeholder); }
      catch (error) { show("", error.message); }
    });
    dialog.addEventListener("close", () => show("", ""));
  });
})();
