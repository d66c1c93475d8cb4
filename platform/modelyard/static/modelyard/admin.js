// The pages of one deployment and the form that deploys a model: the log, the options of a runtime, the fit.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { $, $$, sizes: widths } = window.modelyard;

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

  // --- The options of the chosen runtime ---
  const runtime = $("select[name=runtime]");
  function choose() {
    $$("[data-runtime]").forEach((group) => { group.hidden = group.dataset.runtime !== runtime.value; });
  }
  if (runtime) { runtime.addEventListener("change", choose); choose(); }

  // --- Who can serve the chosen model, and with what memory ---
  const fit = $("[data-fit-url]");
  let waiting = null;
  let asked = 0;
  async function fits() {
    const turn = ++asked;
    fit.classList.add("my-asking");
    try {
      const answer = await fetch(fit.dataset.fitUrl, { method: "POST", redirect: "error", body: new FormData(fit.closest("form")) });
      if (answer.ok && turn === asked) { fit.innerHTML = await answer.text(); widths(); }
    } finally { if (turn === asked) fit.classList.remove("my-asking"); }
  }
  if (fit) {
    widths();
    fit.closest("form").addEventListener("change", (event) => {
      if (!/^(model|runtime|option__.*)$/.test(event.target.name || "")) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => fits().catch(() => {}), 150);
    });
  }
});
