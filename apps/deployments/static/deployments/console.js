// The test console: sends requests as the person who is logged in, and shows exactly what went and what came.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const body = $("#console-body");
  if (!body) return;
  const words = body.dataset;
  const said = $("#console-said"), wrong = $("#console-error"), result = $("#console-result");
  const figures = $("#console-figures"), curl = $("#console-curl"), line = $("#console-line"), copied = $("#console-copied");
  const CLEARED = "cleared"; // why a request was stopped, where nothing of it is to be seen any more
  let running = null, sent = null;

  // --- Whether there is something to talk to ---
  function serves() { body.hidden = !$("[data-serves]")?.dataset.serves; }
  serves();
  document.addEventListener("modelyard:part", serves);

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  const number = (value, digits = 0) => value.toLocaleString(document.documentElement.lang || "en", { maximumFractionDigits: digits });

  // --- One request ---
  function busy(on) {
    $$("[data-send]", body).forEach((button) => { button.disabled = on; });
    $$("[data-stop]", body).forEach((button) => { button.disabled = !on; });
  }
  async function call(method, path, text, answered) {
    if (running) return;
    const mine = running = new AbortController();
    const figure = { began: performance.now() };
    sent = { method, path, text };
    wrong.hidden = true; result.hidden = true; figures.hidden = true; line.hidden = true; copied.textContent = "";
    curl.disabled = false;
    said.textContent = words.sending;
    busy(true);
    try {
      const headers = text === null ? {} : { "Content-Type": "application/json" };
      const answer = await window.modelyard.ask(words.invoke + path.slice(1), { method, headers, body: text, signal: mine.signal });
      figure.status = answer.status;
      figure.request = answer.headers.get("x-request-id") || "";
      if (!answer.ok) { await refuse(answer); figure.total = performance.now() - figure.began; return; }
      await answered(answer, figure);
      figure.total ??= performance.now() - figure.began;
      said.textContent = words.done;
    } catch (error) {
      figure.total = performance.now() - figure.began;
      if (mine.signal.aborted) said.textContent = mine.signal.reason === CLEARED ? "" : words.stopped;
      else if (error instanceof TypeError) fail(words.offline, "");
      else fail(error.message, "");
    } finally {
      running = null;
      busy(false);
      if (mine.signal.reason !== CLEARED) show(figure);
    }
  }
  async function refuse(answer) {
    const text = await answer.text();
    let message = text.slice(0, 500), step = "";
    try {
      const told = JSON.parse(text);
      message = told.error?.message || told.detail || told.title || message;
      step = told.next_step || "";
    } catch { /* not JSON: as it is */ }
    const kind = answer.status >= 500 ? (answer.status === 503 ? "503" : "500") : String(answer.status);
    const wait = answer.headers.get("retry-after");
    fail(`${words.refused} (${answer.status}): ${message}`, [step || words[`hint-${kind}`] || words[`hint${kind}`] || words["hint-400"] || words.hint400, wait ? `Retry-After: ${wait} s` : ""].filter(Boolean).join(" · "));
  }
  function fail(message, step) {
    said.textContent = "";
    wrong.replaceChildren(element("b", message), ...(step ? [element("p", step)] : []));
    wrong.hidden = false;
  }
  function show(figure) {
    const rows = [
      [words.status, figure.status ?? ""],
      [words.latency, figure.total === undefined ? "" : `${number(figure.total)} ms`],
      [words.ttft, figure.first === undefined ? "" : `${number(figure.first)} ms`],
      [words.prompt, figure.usage ? number(figure.usage.prompt_tokens ?? 0) : figure.status === 200 && figure.counts ? words.notTold : ""],
      [words.completion, figure.usage?.completion_tokens === undefined ? "" : number(figure.usage.completion_tokens)],
      [words.speed, speed(figure)],
      [words.request, figure.request ?? ""],
    ];
    figures.replaceChildren(...rows.filter(([, value]) => value !== "").map(([name, value]) => {
      const each = element("div");
      each.append(element("dt", name), element("dd", String(value)));
      return each;
    }));
    figures.hidden = !figures.childElementCount;
  }
  function speed(figure) {
    const tokens = figure.usage?.completion_tokens;
    if (!tokens) return "";
    // Of a stream the first token's wait doesn't count; of a whole answer there is nothing else to divide by.
    const seconds = (figure.total - (figure.first ?? 0)) / 1000;
    const made = figure.first === undefined ? tokens : tokens - 1;
    return made > 0 && seconds > 0 ? number(made / seconds, 1) : "";
  }
  body.addEventListener("click", (event) => { if (event.target.closest("[data-stop]")) running?.abort(); });

  // --- Copy as cURL ---
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  function asCurl({ method, path, text }) {
    const streams = text !== null && /"stream":\s*true/.test(text);
    const parts = ["curl", streams ? "-sSN" : "-sS", ...(method === "POST" ? [] : ["-X", method]), quoted(words.gateway + path), "-H", '"Authorization: Bearer $MODELYARD_API_KEY"'];
    if (text !== null) parts.push("-H", quoted("Content-Type: application/json"), "--data-raw", quoted(text));
    return parts.join(" ");
  }
  curl.addEventListener("click", async () => {
    line.textContent = asCurl(sent);
    line.hidden = false;
    try {
      await navigator.clipboard.writeText(line.textContent);
      copied.textContent = words.copied;
    } catch { copied.textContent = words.select; }
  });

  // --- Chat ---
  const turns = [], log = $("#chat-log"), form = $("#chat-form"), text = $("#chat-text");
  let conversation = 0; // counts: what still comes of one that was cleared belongs to no other
  function turn(role, content) {
    $("[data-chat-empty]", log)?.remove();
    const made = element("div", undefined, `my-turn my-turn-${role}`);
    const shown = element("span", content);
    made.append(element("b", role === "user" ? words.you : words.model), shown);
    log.append(made);
    log.scrollTop = log.scrollHeight;
    return shown;
  }
  function parameters() {
    const found = {};
    $$("[data-param]", form).forEach((field) => { if (field.value !== "" && field.validity.valid) found[field.dataset.param] = Number(field.value); });
    const stop = $("#chat-stop").value;
    if (stop) found.stop = [stop];
    return found;
  }
  async function stream(answer, figure, piece) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (waiting + value).split("\n");
      waiting = lines.pop();
      for (const each of lines) {
        const data = each.startsWith("data:") ? each.slice(5).trim() : "";
        if (!data || data === "[DONE]") continue;
        const told = JSON.parse(data);
        if (told.error) throw new Error(told.error.message || data);
        if (told.usage) figure.usage = told.usage;
        piece(told);
      }
    }
  }
  async function chat() {
    const asked = text.value.trim();
    if (!asked) { said.textContent = words.nothing; return; }
    if (running) return;
    const mine = conversation;
    const system = $("#chat-system").value.trim(), streams = $("#chat-stream").checked;
    const messages = [...(system ? [{ role: "system", content: system }] : []), ...turns, { role: "user", content: asked }];
    const request = { model: words.name, messages, ...parameters(), ...(streams ? { stream: true, stream_options: { include_usage: true } } : {}) };
    turn("user", asked);
    text.value = "";
    const shown = turn("assistant", "");
    let whole = "";
    const say = (more) => {
      const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      whole += more;
      shown.textContent = whole;
      if (low) log.scrollTop = log.scrollHeight;
    };
    await call("POST", words.chat, JSON.stringify(request), async (answer, figure) => {
      figure.counts = true;
      if (streams && (answer.headers.get("content-type") || "").startsWith("text/event-stream")) {
        said.textContent = words.streaming;
        await stream(answer, figure, (told) => {
          const more = told.choices?.[0]?.delta?.content || told.choices?.[0]?.delta?.reasoning_content || "";
          if (more && figure.first === undefined) figure.first = performance.now() - figure.began;
          say(more);
        });
      } else {
        const told = await answer.json();
        figure.usage = told.usage;
        say(told.choices?.[0]?.message?.content || "");
      }
      if (!whole) shown.textContent = words.emptyAnswer;
    });
    if (mine !== conversation) return;
    if (whole) turns.push({ role: "user", content: asked }, { role: "assistant", content: whole });
    else if (!wrong.hidden || said.textContent === words.stopped) {
      // Nothing came: what was asked goes back to where it can be sent again.
      shown.parentElement.previousElementSibling?.remove();
      shown.parentElement.remove();
      text.value = text.value || asked;
    }
    text.focus();
  }
  if (form) {
    form.addEventListener("submit", chat);
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); chat(); }
    });
    $("[data-clear]", form).addEventListener("click", () => {
      running?.abort(CLEARED);
      conversation += 1;
      turns.length = 0;
      log.replaceChildren();
      figures.hidden = wrong.hidden = true;
      said.textContent = "";
      text.focus();
    });
  }

  // --- Embeddings, ranking, labels ---
  const lines = (selector) => $(selector).value.split("\n").map((each) => each.trim()).filter(Boolean);
  function table(heads, rows) {
    const made = element("table", undefined, "my-table"), head = element("tr");
    heads.forEach((name) => { const cell = element("th", name); cell.scope = "col"; head.append(cell); });
    const thead = element("thead"), tbody = element("tbody");
    thead.append(head);
    rows.forEach((row) => { const tr = element("tr"); row.forEach((cell) => tr.append(element("td", cell))); tbody.append(tr); });
    made.append(thead, tbody);
    const around = element("div", undefined, "my-scroll");
    around.tabIndex = 0;
    around.append(made);
    return around;
  }
  function whole(told) {
    const details = element("details"), pre = element("pre", typeof told === "string" ? told : JSON.stringify(told, null, 2), "my-code my-text");
    pre.tabIndex = 0;
    details.append(element("summary", words.whole), pre);
    return details;
  }
  function put(...parts) { result.replaceChildren(...parts); result.hidden = false; }
  const cut = (value, most = 60) => (value.length > most ? `${value.slice(0, most)} …` : value);
  function cosine(a, b) {
    let dot = 0, one = 0, other = 0;
    for (let at = 0; at < a.length; at += 1) { dot += a[at] * b[at]; one += a[at] ** 2; other += b[at] ** 2; }
    return one && other ? dot / Math.sqrt(one * other) : NaN;
  }
  function send(selector, make) {
    const own = $(selector);
    own?.addEventListener("submit", () => {
      const asked = make();
      if (!asked) { said.textContent = words.nothing; return; }
      call("POST", asked.path, JSON.stringify(asked.request), async (answer, figure) => {
        figure.counts = true;
        const told = await answer.json();
        figure.usage = told.usage;
        put(...asked.shown(told), whole(told));
      });
    });
  }
  send("#try-embed", () => {
    const input = lines("#embed-text");
    return input.length && { path: words.embed, request: { model: words.name, input, encoding_format: "float" }, shown: (told) => {
      const vectors = told.data.map((each) => each.embedding);
      const rows = vectors.map((vector, at) => [cut(input[at] ?? ""), String(vector.length), vector.slice(0, 5).map((value) => value.toFixed(4)).join(", ") + " …"]);
      const parts = [table([words.input, words.length, words.first], rows)];
      if (vectors.length > 1) {
        parts.push(element("h3", words.cosine));
        parts.push(table(["", ...vectors.map((_, at) => String(at + 1))], vectors.map((one, at) => [`${at + 1} · ${cut(input[at] ?? "", 40)}`, ...vectors.map((other) => cosine(one, other).toFixed(4))])));
      }
      return parts;
    } };
  });
  send("#try-rerank", () => {
    const documents = lines("#rerank-text"), query = $("#rerank-query").value.trim();
    return documents.length && query && { path: words.rerank, request: { model: words.name, query, documents }, shown: (told) => {
      const found = [...(told.results || told.data || [])].sort((a, b) => (b.relevance_score ?? b.score) - (a.relevance_score ?? a.score));
      return [table(["", words.document, words.score], found.map((each, at) => [String(at + 1), cut(documents[each.index] ?? "", 100), String((each.relevance_score ?? each.score)?.toFixed?.(4))]))];
    } };
  });
  send("#try-classify", () => {
    const input = lines("#classify-text");
    return input.length && { path: words.classify, request: { model: words.name, input }, shown: (told) => {
      const rows = (told.data || []).map((each, at) => [cut(input[each.index ?? at] ?? "", 100), String(each.label ?? ""), each.score?.toFixed?.(4) ?? (each.probs || []).map((value) => value.toFixed(4)).join(", ")]);
      return rows.length ? [table([words.input, words.label, words.score], rows)] : [];
    } };
  });

  // --- Any request ---
  const raw = $("#try-raw"), path = $("#raw-path"), text_ = $("#raw-body");
  const method = () => path.value.split(" ")[0];
  path.addEventListener("change", () => { text_.disabled = method() === "GET"; });
  text_.disabled = method() === "GET";
  raw.addEventListener("submit", () => {
    const address = path.value.slice(method().length + 1);
    if (method() !== "GET") {
      try { JSON.parse(text_.value); } catch (error) { fail(`${words.badJson} ${error.message}`, ""); return; }
    }
    call(method(), address, method() === "GET" ? null : text_.value, async (answer, figure) => {
      const pre = element("pre", "", "my-code my-text");
      pre.tabIndex = 0;
      put(pre);
      if ((answer.headers.get("content-type") || "").startsWith("text/event-stream")) {
        await stream(answer, figure, (told) => {
          if (figure.first === undefined) figure.first = performance.now() - figure.began;
          pre.textContent += `${JSON.stringify(told)}\n`;
        });
        return;
      }
      const told = await answer.text();
      try {
        const parsed = JSON.parse(told);
        figure.usage = parsed.usage;
        pre.textContent = JSON.stringify(parsed, null, 2);
      } catch { pre.textContent = told; }
    });
  });
})();
