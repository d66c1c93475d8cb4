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
  async function choose(chosen) {
    const looked = refusal(chosen) ? { problem: refusal(chosen) } : await window.zipDirectory(chosen);
    const refused = looked.problem;
    file = refused ? null : chosen;
    problem(...(refused || [""]));
    $("chosen").hidden = $("start").hidden = Boolean(refused);
    say("file-name", chosen.name);
    say("file-size", `${bytes(chosen.size)} · ${looked.said || ""}`);
    say("model-name", nameOf(chosen));
    window.adapterBase.offer(looked.adapter ?? null);
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
  const csrf = page.querySelector("[name=csrfmiddlewaretoken]").value;
  $("start").addEventListener("click", () => {
    if (!file || upload) return;
    problem("");
    step("upload");
    const metadata = { filename: file.name, description: description.value, base_model: window.adapterBase.chosen };
    upload = new window.Resumable(file, { url: page.dataset.uploadsUrl, csrf, metadata });
    upload.onchange = progress;
    upload.ondone = (model) => { upload = null; history.replaceState(null, "", `?model=${model}`); watch(model); };
    upload.onfail = (status, text) => {
      let body = {};
      try { body = JSON.parse(text); } catch { /* a proxy's own page */ }
      failed(...words(status, body));
      unfinished();
    };
    upload.go();
  });
  $("pause").addEventListener("click", () => { if (upload) { if (upload.state === "paused") upload.go(); else upload.pause(); } });
  $("cancel").addEventListener("click", async () => {
    const given = upload;
    if (!given) return;
    failed("The upload was cancelled.", "Nothing was kept of it.");
    await given.cancel();
    unfinished();
  });
  window.addEventListener("beforeunload", (event) => { if (upload && upload.state === "sending") event.preventDefault(); });

  function progress({ state, sent = 0, speed, wait }) {
    const share = file.size ? sent / file.size : 0;
    $("upload-bar").value = share * 100;
    $("pause").textContent = state === "paused" ? page.dataset.resume : page.dataset.pause;
    const so = `${Math.floor(share * 100)} % · ${bytes(sent)} of ${bytes(file.size)}`;
    if (state === "paused") say("upload-said", `Paused · ${so}`);
    else if (state === "waiting") say("upload-said", `The connection was lost; trying again in ${wait} s · ${so}`);
    else if (share >= 1) say("upload-said", "Sent. The server is storing it …");
    else say("upload-said", speed ? `${so} · ${bytes(Math.round(speed))}/s · ${duration((file.size - sent) / speed)}` : so);
  }

  // --- What was begun and isn't finished ---
  async function unfinished() {
    const place = $("unfinished");
    let rows = [];
    try { rows = (await (await fetch(page.dataset.uploadsUrl, { headers: { Accept: "application/json" } })).json()).results || []; } catch { /* the page works without */ }
    place.hidden = !rows.length;
    $("unfinished-rows").replaceChildren(...rows.map(row));
  }
  function row(each) {
    const line = document.createElement("li");
    const text = document.createElement("span");
    const button = document.createElement("button");
    line.className = "my-row my-between";
    text.textContent = `${each.file_name} · ${Math.floor((each.offset / each.length) * 100)} % of ${bytes(each.length)}${each.problem ? ` · ${each.problem}` : ""}`;
    button.type = "button";
    button.className = "my-mini";
    button.textContent = page.dataset.discard;
    button.setAttribute("aria-label", `${page.dataset.discard} ${each.file_name}`);
    button.addEventListener("click", async () => {
      await fetch(`${page.dataset.uploadsUrl}${each.id}`, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0", "X-CSRFToken": csrf } });
      unfinished();
    });
    line.append(text, button);
    return line;
  }

  function failed(title, next) {
    upload = null;
    step("choose");
    problem(title, next);
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
  else unfinished();
  if (!watched && input.files.length) choose(input.files[0]); // chosen before this ran
})();
