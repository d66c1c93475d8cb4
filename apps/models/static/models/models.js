// Models: the live status of imports, and the upload.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);

  // --- Live status ---
  const live = $("[data-models-live]");
  let moving = true;
  async function poll() {
    const cells = [...document.querySelectorAll("[data-live-model]")];
    if (document.hidden || !cells.length) return;
    const answer = await fetch(`${live.dataset.modelsLive}?ids=${cells.map((c) => c.dataset.liveModel).join(",")}`, { redirect: "error" });
    const { rows } = await answer.json();
    moving = false;
    for (const cell of cells) {
      const row = rows[cell.dataset.liveModel];
      if (!row) continue;
      moving ||= row.moving;
      if (cell.innerHTML !== row.status) cell.innerHTML = row.status;
      if (live.dataset.reload && live.dataset.reload !== row.word) location.reload();
    }
  }
  function again() { setTimeout(() => poll().catch(() => {}).finally(again), moving ? 1500 : 15000); }
  if (live) again();

  // --- The upload ---
  const form = $("#import");
  if (!form) return;
  const input = $("#file"), start = $("#start"), cancel = $("#cancel"), drop = $("#drop"), said = $("#said");
  const bar = $("#progress"), fill = $("#progress span"), meter = $("#progress [role=progressbar]");
  let request = null;
  const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0);
  function say(text, bad = false) {
    said.textContent = "";
    const line = document.createElement("p");
    line.textContent = text;
    if (bad) line.className = "my-alert";
    said.append(line);
  }
  function link(href, text, primary) {
    const a = document.createElement("a");
    a.href = href; a.textContent = text; a.className = primary ? "my-button my-primary" : "my-button";
    return a;
  }
  function show(percent) {
    bar.hidden = false;
    fill.style.width = `${percent}%`;
    meter.setAttribute("aria-valuenow", Math.round(percent));
  }
  function chosen() {
    const file = input.files[0];
    start.disabled = true;
    if (!file) return;
    if (!/\.zip$/i.test(file.name)) { say(`${file.name} isn't a .zip: zip the model's folder first.`, true); return; }
    if (!file.size) { say(`${file.name} is empty.`, true); return; }
    say(`${file.name}, ${megabytes(file.size)} MiB. It becomes the model “${file.name.replace(/\.zip$/i, "")}”.`);
    start.disabled = false;
  }
  input.addEventListener("change", chosen);
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.add("my-over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (e) => { e.preventDefault(); drop.classList.remove("my-over"); });
  drop.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; chosen(); } });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || request) return;
    const data = new FormData();
    data.append("description", $("#description").value);
    data.append("file", file);
    request = new XMLHttpRequest();
    request.open("POST", "/api/v1/models/");
    request.setRequestHeader("X-CSRFToken", $("[name=csrfmiddlewaretoken]").value);
    const began = performance.now();
    request.upload.addEventListener("progress", (e) => {
      const speed = e.loaded / ((performance.now() - began) / 1000);
      const left = Math.ceil((e.total - e.loaded) / Math.max(speed, 1));
      show((e.loaded / e.total) * 50);
      say(`Uploading: ${megabytes(e.loaded)} of ${megabytes(e.total)} MiB, ${megabytes(speed)} MiB/s, ${left} s left`);
    });
    request.addEventListener("load", () => uploaded(request));
    request.addEventListener("error", () => ended("The connection broke: nothing was imported. Try again.", true));
    request.addEventListener("abort", () => ended("Cancelled: nothing was imported."));
    start.disabled = input.disabled = true;
    cancel.hidden = false;
    request.send(data);
  });
  cancel.addEventListener("click", () => request && request.abort());
  window.addEventListener("beforeunload", (event) => { if (request) event.preventDefault(); });

  function ended(text, bad = false) {
    request = null;
    cancel.hidden = true;
    start.disabled = input.disabled = false;
    bar.hidden = true;
    say(text, bad);
  }
  function uploaded(answer) {
    let body = {};
    try { body = JSON.parse(answer.responseText); } catch { /* said below */ }
    if (answer.status !== 202) { ended(body.detail || `The upload was refused (${answer.status}). Reload the page and log in again.`, true); return; }
    request = null;
    cancel.hidden = true;
    follow(body.id);
  }
  async function follow(id) {
    let model;
    try { model = await (await fetch(`/api/v1/models/${id}/`)).json(); } catch { setTimeout(() => follow(id), 2000); return; }
    const details = $("#import").dataset.list + `${id}/change/`;
    if (model.status === "ready") {
      show(100);
      say(`${model.name} is Ready.`);
      const row = document.createElement("p");
      row.className = "my-row";
      row.append(link(`${form.dataset.add}?model=${id}`, "Deploy this model", true), link(details, "Details and report", false));
      said.append(row);
    } else if (model.status === "import_failed") {
      ended(`${model.failure} ${model.next_step}`, true);
      said.append(link(details, "Details and report", false));
    } else {
      show(50 + model.progress / 2);
      say(`${model.status_label}: ${model.stage || "waiting for the importer"} (${model.progress} %). You may leave this page.`);
      setTimeout(() => follow(id), 700);
    }
  }
})();
