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
  const told = window.modelyard.words("#import-words");
  const number = (value, digits = 0) => value.toLocaleString(document.documentElement.lang || "en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const count = (text) => [...text].length;
  function bytes(size) {
    const units = [told("bytes"), "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
    return `${number(size, unit ? 1 : 0)} ${units[unit]}`;
  }
  function duration(seconds) {
    if (!Number.isFinite(seconds)) return "";
    if (seconds < 60) return told("secondsLeft", { n: Math.ceil(seconds) });
    if (seconds < 3600) return told("minutesLeft", { n: Math.ceil(seconds / 60) });
    return told("hoursLeft", { n: number(seconds / 3600, 1) });
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

  function warn(found) {
    $("overridable").hidden = !found.length;
    $("overridable").replaceChildren(...found.map(([title, next]) => {
      const [line, bold] = [document.createElement("p"), document.createElement("b")];
      bold.textContent = title;
      line.append(bold, ` ${next}`);
      return line;
    }));
  }

  // --- Choosing ---
  const nameOf = (chosen) => chosen.name.replace(/\.zip$/i, "").normalize("NFC").trim().split(/\s+/).join(" ");
  function refusal(chosen) {
    if (!/\.zip$/i.test(chosen.name)) return [told("noZip", { name: chosen.name }), told("noZipStep")];
    if (!chosen.size) return [told("empty"), told("emptyStep")];
    if (chosen.size > limit) return [told("tooLarge", { size: bytes(chosen.size), most: bytes(limit) }), told("tooLargeStep")];
    if (!nameOf(chosen)) return [told("noName"), told("noNameStep")];
    if (count(nameOf(chosen)) > longest) return [told("longName", { n: count(nameOf(chosen)), most: longest }), told("longNameStep")];
    return null;
  }
  async function choose(chosen) {
    const looked = refusal(chosen) ? { problem: refusal(chosen) } : await window.zipDirectory(chosen);
    const refused = looked.problem;
    file = refused ? null : chosen;
    problem(...(refused || [""]));
    warn(looked.warnings || []);
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
    else problem(told("oneFile"), told("oneFileStep"));
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
    failed(told("cancelled"), told("cancelledStep"));
    await given.cancel();
    unfinished();
  });
  window.addEventListener("beforeunload", (event) => { if (upload && upload.state === "sending") event.preventDefault(); });

  function progress({ state, sent = 0, speed, wait }) {
    const share = file.size ? sent / file.size : 0;
    $("upload-bar").value = share * 100;
    $("pause").textContent = state === "paused" ? page.dataset.resume : page.dataset.pause;
    const so = `${Math.floor(share * 100)} % · ${told("of", { done: bytes(sent), all: bytes(file.size) })}`;
    if (state === "paused") say("upload-said", `${told("paused")} · ${so}`);
    else if (state === "waiting") say("upload-said", `${told("lost", { n: wait })} · ${so}`);
    else if (share >= 1) say("upload-said", told("storing"));
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
    text.textContent = `${each.file_name} · ${told("of", { done: `${Math.floor((each.offset / each.length) * 100)} %`, all: bytes(each.length) })}${each.problem ? ` · ${each.problem}` : ""}`;
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
    if (status === 401 || status === 403) return [told("loggedOut"), told("loggedOutStep")];
    if (status === 413) return [told("proxy"), told("proxyStep")];
    return [told("error", { n: status }), told("errorStep")];
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
    } catch { say("watch-said", told("unreachable")); }
    if (!model || show(model)) setTimeout(watch, 1000, id);
  }
  function show(model) {
    const ready = model.status === "ready";
    const broken = model.status === "import_failed";
    say("watch-name", model.name);
    say("watch-badge", told(`is_${model.status}`) || model.status_label);
    $("watch-badge").className = `my-badge ${ready ? "my-good" : broken ? "my-bad" : "my-busy"}`;
    $("watch-bar").value = model.progress;
    $("watch-bar").hidden = $("watch-help").hidden = ready || broken;
    say("watch-said", ready ? `${told(model.files.length === 1 ? "file" : "files", { n: number(model.files.length) })}, ${bytes(model.size)}. ${warnings(model)}` : broken ? "" : `${model.stage || told("waiting")} · ${model.progress} %`);
    $("failure").hidden = !broken;
    say("failure-title", model.failure);
    say("failure-step", model.next_step);
    $("another").hidden = !(ready || broken);
    if (page.dataset.deployUrl) { $("deploy").hidden = !ready; $("deploy").href = url("deployUrl", model.id); }
    return !ready && !broken;
  }
  function warnings(model) {
    const found = model.findings.filter((finding) => finding.level === "warn").length;
    return found ? told(found > 1 ? "warnings" : "warning", { n: found }) : told("passed");
  }
  $("another").addEventListener("click", () => { location.href = location.pathname; });

  const watched = new URLSearchParams(location.search).get("model");
  if (watched) watch(watched);
  else unfinished();
  if (!watched && input.files.length) choose(input.files[0]); // chosen before this ran
})();
