// The log: followed while one looks, searched on the server, earlier lines on demand.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const card = $("#log-card");
  if (!card) return;
  const words = card.dataset, log = $("#log"), said = $("#log-said"), follow = $("#follow");
  const back = $("#log-back"), earlier = $("#log-earlier"), word = $("#log-word");
  const MOST = 5000, EVERY = 1500, AWAY = 8000;
  let timer = null, asking = false, away = false, over = false, searching = false, reading = false;

  async function ask(given) {
    const query = new URLSearchParams({ replica: words.replica, ...(words.start ? { start: words.start } : {}), ...given });
    const answer = await fetch(`${words.linesUrl}?${query}`, { redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect" || answer.status === 403) throw new Error(words.session);
    if (!answer.ok) throw new Error(words.away);
    return answer.json();
  }
  function row({ text, level }) {
    const made = document.createElement("div");
    made.textContent = text;
    if (level) made.dataset.level = level;
    return made;
  }
  function note(text) {
    const made = row({ text, level: "" });
    made.dataset.note = "1";
    return made;
  }
  const rest = () => $("[data-rest]", log);
  function renew(told) {
    const last = document.createElement("div");
    last.dataset.rest = "";
    last.textContent = told.rest;
    log.replaceChildren(...told.lines.map(row), last);
    log.dataset.cursor = told.cursor;
    earlier.dataset.before = told.begin;
    earlier.hidden = told.first;
    log.scrollTop = log.scrollHeight;
  }
  function add(told) {
    const last = rest();
    const fresh = told.lines.map(row);
    if (told.lost) fresh.unshift(note(words.lost));
    last.before(...fresh);
    last.textContent = told.rest;
    log.dataset.cursor = told.cursor;
    const many = log.childElementCount - MOST;
    if (many > 0) {
      for (let at = 0; at < many + 500; at += 1) log.firstElementChild.remove();
      log.prepend(note(words.dropped));
      earlier.hidden = true;
    }
    if (fresh.length || told.rest) log.scrollTop = log.scrollHeight;
  }
  function empty() { said.textContent = log.textContent.trim() ? "" : words.nothing; }

  // A start that was chosen and has ended prints nothing more; the newest one goes on.
  async function look() {
    clearTimeout(timer);
    if (document.hidden || asking || over || searching || !follow.checked) return;
    asking = true;
    try {
      const told = await ask({ after: log.dataset.cursor });
      if (!searching && follow.checked) add(told);
      over = told.ended && !told.lines.length;
      said.textContent = over ? words.ended : "";
      if (!over) empty();
      away = false;
    } catch (error) { away = true; said.textContent = error instanceof TypeError ? words.away : error.message; } finally { asking = false; }
    if (!document.hidden && !over) timer = setTimeout(look, away ? AWAY : EVERY);
  }
  const newest = $("#log-start option:nth-child(2)");
  const live = !words.start || (newest && newest.value === words.start);
  if (!live) { over = true; follow.checked = false; follow.disabled = true; }
  log.scrollTop = log.scrollHeight;
  empty();
  look();
  document.addEventListener("visibilitychange", () => { clearTimeout(timer); look(); });
  follow.addEventListener("change", () => { reading = false; if (follow.checked) { log.scrollTop = log.scrollHeight; look(); } });
  // Who scrolls up reads, by whatever means: nothing moves under them until they are at the end again, or say so. Our own
  // scrolling while it is followed ends at the end.
  let seen = log.scrollTop;
  log.addEventListener("scroll", () => {
    const up = log.scrollTop < seen, low = log.scrollHeight - log.scrollTop - log.clientHeight < 4;
    seen = log.scrollTop;
    if (searching) return;
    if (follow.checked && up && !low) { follow.checked = false; reading = true; }
    else if (reading && low) { follow.checked = true; reading = false; look(); }
  }, { passive: true });
  $("#wrap").addEventListener("change", (event) => {
    log.classList.toggle("my-wrap", event.target.checked);
    if (follow.checked) log.scrollTop = log.scrollHeight;
  });
  $("#log-choose").addEventListener("change", (event) => {
    if (event.target.name === "replica") $("#log-start").value = "";
    event.target.form.submit();
  });

  earlier.addEventListener("click", async () => {
    earlier.disabled = true;
    follow.checked = reading = false;
    try {
      const told = await ask({ before: earlier.dataset.before });
      const high = log.scrollHeight;
      log.prepend(...told.lines.map(row), ...(told.lost ? [note(words.lost)] : []));
      log.scrollTop += log.scrollHeight - high;
      earlier.dataset.before = told.begin;
      earlier.hidden = told.first || !told.lines.length;
    } catch (error) { said.textContent = error.message; } finally { earlier.disabled = false; }
  });

  function hit(line, wanted) {
    const made = document.createElement("div"), button = document.createElement("button");
    if (line.level) made.dataset.level = line.level;
    button.type = "button";
    button.className = "my-hit";
    button.title = words.around;
    let from = 0;
    const low = line.text.toLowerCase(), small = wanted.toLowerCase();
    for (let at = low.indexOf(small); at >= 0; at = low.indexOf(small, from)) {
      const mark = document.createElement("mark");
      mark.textContent = line.text.slice(at, at + small.length);
      button.append(line.text.slice(from, at), mark);
      from = at + small.length;
    }
    button.append(line.text.slice(from));
    button.addEventListener("click", () => around(line.at, line.text));
    made.append(button);
    return made;
  }
  $("#log-search").addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = word.value.trim();
    if (!wanted) { end(); return; }
    searching = true;
    back.hidden = false;
    earlier.hidden = true;
    try {
      const told = await ask({ q: wanted });
      log.replaceChildren(...told.lines.map((line) => hit(line, wanted)));
      log.scrollTop = log.scrollHeight;
      said.textContent = told.lines.length ? `${told.lines.length} ${words.found} ${wanted}${told.more ? ` · ${words.more}` : ""}` : words.none;
    } catch (error) { said.textContent = error.message; }
  });
  async function around(cursor, text) {
    try {
      const told = await ask({ around: cursor });
      searching = follow.checked = reading = false;
      over = !live; // more may stand below what is shown now
      renew(told);
      const line = [...log.children].findLast((each) => each.textContent === text);
      if (line) { line.scrollIntoView({ block: "center" }); line.tabIndex = -1; line.focus(); }
    } catch (error) { said.textContent = error.message; }
  }
  async function end() {
    searching = reading = false;
    back.hidden = true;
    word.value = "";
    try {
      renew(await ask({}));
      follow.checked = live;
      empty();
      look();
    } catch (error) { said.textContent = error.message; }
  }
  back.addEventListener("click", end);
})();
