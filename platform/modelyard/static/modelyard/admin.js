// Every page of the admin: live status, confirmations, copying, one click at a time.
"use strict";
// It is loaded in the head, where the page isn't there yet.
document.addEventListener("DOMContentLoaded", () => {
  const token = () => (document.querySelector("[name=csrfmiddlewaretoken]") || {}).value || "";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    // Plain http on another host has no clipboard: the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy");
  }

  // --- Copy buttons ---
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const label = button.textContent;
    try {
      await copy($(button.dataset.copy).textContent.trim());
      button.textContent = "✓ Copied";
    } catch { button.textContent = "Select and copy it"; }
    setTimeout(() => { button.textContent = label; }, 2000);
  });

  // --- Confirmations, and one click at a time ---
  const confirmDialog = $("#my-confirm");
  let pending = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-confirm]");
    if (!button || !confirmDialog || button.dataset.confirmed) return;
    event.preventDefault();
    pending = button;
    $("#my-confirm-text").textContent = button.dataset.confirm;
    confirmDialog.showModal();
  });
  if (confirmDialog) {
    $("[data-yes]", confirmDialog).addEventListener("click", (event) => {
      if (!pending) return;
      event.target.disabled = true;
      pending.dataset.confirmed = "1";
      pending.form.requestSubmit(pending);
      pending = null;
    });
  }
  $$("dialog [data-close]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 4000);
  });

  // --- Copy cURL ---
  const curl = $("#my-curl");
  let current = null;
  function show(line, said) {
    const pre = $("[data-curl-line]", curl);
    pre.hidden = !line;
    pre.textContent = line;
    $("[data-curl-said]", curl).textContent = said;
  }
  async function give(line, said) {
    try { await copy(line); show(line, said); } catch { show(line, "Select the line and copy it."); }
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-curl]");
    if (!button || !curl) return;
    current = button.dataset.curl;
    $("[data-curl-name]", curl).textContent = button.dataset.name;
    $("[data-fresh]", curl).disabled = false;
    show("", "");
    curl.showModal();
  });
  async function ask(method) {
    const answer = await fetch(current, { method, headers: { "X-CSRFToken": token() } });
    const body = await answer.json().catch(() => ({ error: "The session has ended: log in again." }));
    if (!answer.ok) throw new Error(body.error);
    return body;
  }
  if (curl) {
    $("[data-fresh]", curl).addEventListener("click", async (event) => {
      event.target.disabled = true;
      try {
        const body = await ask("POST");
        await give(body.curl, `Copied. The key lives ${body.days} days and isn't shown again.`);
      } catch (error) { show("", error.message); event.target.disabled = false; }
    });
    $("[data-placeholder]", curl).addEventListener("click", async () => {
      try { await give((await ask("GET")).curl, "Copied. Set MODELYARD_API_KEY in your shell before you run it."); }
      catch (error) { show("", error.message); }
    });
    curl.addEventListener("close", () => show("", ""));
  }

  // --- Live status ---
  const live = $("[data-live-url]");
  const ids = () => [...new Set($$("[data-live-status]").map((cell) => cell.dataset.liveStatus))];
  let moving = true;
  async function poll() {
    if (!live || document.hidden || !ids().length) return;
    const answer = await fetch(`${live.dataset.liveUrl}?ids=${ids().join(",")}`, { redirect: "error" });
    const { rows } = await answer.json();
    moving = false;
    for (const [id, row] of Object.entries(rows)) {
      moving ||= row.moving;
      const status = $(`[data-live-status="${id}"]`);
      if (status && status.innerHTML !== row.status) status.innerHTML = row.status;
      const actions = $(`[data-live-actions="${id}"]`);
      if (actions && actions.dataset.word && actions.dataset.word !== row.word) actions.innerHTML = row.actions;
      if (actions) actions.dataset.word = row.word;
      // A page of one deployment shows more than its status: it is loaded again when that changes.
      if (live.dataset.liveReload && live.dataset.liveReload !== row.word && !$("dialog[open]") && !typing()) location.reload();
    }
  }
  function typing() {
    const at = document.activeElement;
    return at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName) && at.id !== "follow";
  }
  function again() { setTimeout(() => poll().catch(() => {}).finally(again), moving ? 2000 : 10000); }
  if (live) { poll().catch(() => {}); again(); }
  document.addEventListener("visibilitychange", () => poll().catch(() => {}));

  // --- The log ---
  const log = $("[data-log-url]");
  async function tail() {
    if (document.hidden || !$("#follow").checked) return;
    const answer = await fetch(log.dataset.logUrl, { redirect: "error" });
    if (!answer.ok) return;
    const text = await answer.text();
    if (text && text !== log.textContent) { log.textContent = text; log.scrollTop = log.scrollHeight; }
  }
  if (log) { log.scrollTop = log.scrollHeight; setInterval(() => tail().catch(() => {}), 2000); }
});
