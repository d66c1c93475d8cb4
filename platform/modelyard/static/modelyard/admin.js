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
});
