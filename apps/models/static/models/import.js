// The import page: check the file, upload it with progress, then watch the import.
"use strict";
(() => {
  const page = document.querySelector("#import");
  if (!page) return;
  const $ = (name) => page.querySelector(`[data-${name}]`);
  const input = page.querySelector("#file");
  const description = page.querySelector("#description");
  const limit = Number(page.dataset.maxBytes);
  const longest = Number(page.dataset.maxName);
  let file = null;
  let upload = null;
  // unfold writes a file's name into a text field beside it, which this page has no use for.
  input.hasChangeListener = true;

  // --- Words ---
  const count = (text) => [...text].length;
  function bytes(size) {
    const units = ["bytes", "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
    return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
  }
  function duration(seconds) {
    if (!Number.isFinite(seconds)) return "";
    if (seconds < 60) return `${Math.ceil(seconds)} s left`;
    if (seconds < 3600) return `${Math.ceil(seconds / 60)} min left`;
    return `${(seconds / 3600).toFixed(1)} h left`;
  }
  function say(all, text) { page.querySelectorAll(`[data-${all}]`).forEach((place) => { place.textContent = text; }); }
  function step(name) {
    page.querySelectorAll("[data-step]").forEach((section) => { section.hidden = section.dataset.step !== name; });
  }
  function problem(title, next) {
    $("problem").hidden = !title;
    say("problem-title", title);
    say("problem-step", next || "");
  }

  // --- Choosing ---
  const nameOf = (chosen) => chosen.name.replace(/\.zip$/i, "").normalize("NFC").trim().split(/\s+/).join(" ");
  function refusal(chosen) {
    if (!/\.zip$/i.test(chosen.name)) return [`“${chosen.name}” isn't a .zip file.`, "Put the model's files into a .zip, as shown below."];
    if (!chosen.size) return ["The file is empty.", "Choose another one, or make it again."];
    if (chosen.size > limit) return [`The file has ${bytes(chosen.size)}, ${bytes(limit)} are allowed.`, "Ask the operator to raise MODELYARD_MAX_UPLOAD_BYTES."];
    if (!nameOf(chosen)) return ["The file has no name before .zip.", "Rename it: the model is named after it."];
    if (count(nameOf(chosen)) > longest) return [`The name has ${count(nameOf(chosen))} characters, ${longest} are allowed.`, "Rename the file: the model is named after it."];
    return null;
  }
  function choose(chosen) {
    const refused = refusal(chosen);
    file = refused ? null : chosen;
    problem(...(refused || [""]));
    $("chosen").hidden = $("start").hidden = Boolean(refused);
    say("file-name", chosen.name);
    say("file-size", bytes(chosen.size));
    say("model-name", nameOf(chosen));
    if (!refused) $("start").focus();
  }
  input.addEventListener("change", () => { if (input.files.length) choose(input.files[0]); });
  const drop = $("drop");
  // The whole page takes the drop: beside the field, the browser would leave the page and open the file.
  ["dragover", "drop"].forEach((name) => document.addEventListener(name, (event) => event.preventDefault()));
  drop.addEventListener("dragover", () => drop.classList.add("my-over"));
  ["dragleave", "drop"].forEach((name) => drop.addEventListener(name, () => drop.classList.remove("my-over")));
  drop.addEventListener("drop", (event) => {
    const files = event.dataTransfer.files;
    if (files.length === 1) choose(files[0]);
    else problem("One file at a time.", "A model is one .zip.");
  });

  // --- Uploading ---
  $("start").addEventListener("click", () => {
    if (!file || upload) return;
    problem("");
    step("upload");
    upload = new XMLHttpRequest();
    const started = performance.now();
    upload.upload.addEventListener("progress", (event) => progress(event, (performance.now() - started) / 1000));
    upload.addEventListener("load", received);
    upload.addEventListener("error", () => failed("The connection ended during the upload.", "Check the network, then import it again."));
    upload.addEventListener("abort", () => failed("The upload was cancelled.", "Nothing was kept of it."));
    upload.open("POST", page.dataset.uploadUrl);
    upload.setRequestHeader("X-CSRFToken", page.querySelector("[name=csrfmiddlewaretoken]").value);
    upload.setRequestHeader("Accept", "application/json");
    const body = new FormData();
    body.append("description", description.value);
    body.append("file", file);
    upload.send(body);
  });
  $("cancel").addEventListener("click", () => { if (upload) upload.abort(); });
  window.addEventListener("beforeunload", (event) => { if (upload) event.preventDefault(); });

  function progress(event, seconds) {
    const share = event.total ? event.loaded / event.total : 0;
    $("upload-bar").value = share * 100;
    const speed = event.loaded / Math.max(seconds, 0.001);
    const left = duration((event.total - event.loaded) / speed);
    say("upload-said", share < 1
      ? `${Math.floor(share * 100)} % · ${bytes(event.loaded)} of ${bytes(event.total)} · ${bytes(Math.round(speed))}/s · ${left}`
      : "Sent. The server is storing it …");
  }
  function failed(title, next) {
    upload = null;
    step("choose");
    problem(title, next);
  }
  function received() {
    const { status, responseText } = upload;
    let body = {};
    try { body = JSON.parse(responseText); } catch { /* a proxy's own page */ }
    if (status === 202 && body.id) {
      upload = null;
      history.replaceState(null, "", `?model=${body.id}`);
      watch(body.id);
    } else failed(...words(status, body));
  }
  function words(status, body) {
    if (body.title) return [body.title, body.next_step];
    if (status === 401 || status === 403) return ["You aren't logged in any more.", "Load the page again and log in."];
    if (status === 413) return ["Something on the way refused the file as too large.", "Ask the operator to raise the proxy's limit."];
    return [`The server answered with an error (${status}).`, "Try again; if it stays, look at the server's log."];
  }

  // --- Watching ---
  const url = (name, id) => page.dataset[name].replace("MODEL", encodeURIComponent(id));
  async function watch(id) {
    step("watch");
    $("details").href = url("detailsUrl", id);
    if (document.hidden) { setTimeout(watch, 1000, id); return; }
    let model = null;
    try {
      const answer = await fetch(`${page.dataset.uploadUrl}${encodeURIComponent(id)}/`, { headers: { Accept: "application/json" } });
      const body = await answer.json();
      if (!answer.ok) { history.replaceState(null, "", location.pathname); failed(...words(answer.status, body)); return; }
      model = body;
    } catch { say("watch-said", "The server doesn't answer at the moment; trying again …"); }
    if (!model || show(model)) setTimeout(watch, 1000, id);
  }
  function show(model) {
    const ready = model.status === "ready";
    const broken = model.status === "import_failed";
    say("watch-name", model.name);
    say("watch-badge", model.status_label);
    $("watch-badge").className = `my-badge ${ready ? "my-good" : broken ? "my-bad" : "my-busy"}`;
    $("watch-bar").value = model.progress;
    $("watch-bar").hidden = $("watch-help").hidden = ready || broken;
    say("watch-said", ready ? `${model.files.length} files, ${bytes(model.size)}. ${warnings(model)}` : broken ? "" : `${model.stage || "Waiting"} · ${model.progress} %`);
    $("failure").hidden = !broken;
    say("failure-title", model.failure);
    say("failure-step", model.next_step);
    $("another").hidden = !(ready || broken);
    if (page.dataset.deployUrl) { $("deploy").hidden = !ready; $("deploy").href = url("deployUrl", model.id); }
    return !ready && !broken;
  }
  function warnings(model) {
    const found = model.findings.filter((finding) => finding.level === "warn").length;
    return found ? `${found} warning${found > 1 ? "s" : ""}: see Details.` : "Every rule passed.";
  }
  $("another").addEventListener("click", () => { location.href = location.pathname; });

  const watched = new URLSearchParams(location.search).get("model");
  if (watched) watch(watched);
})();
