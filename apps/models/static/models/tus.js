// Sends a file by the tus protocol (1.0.0): piece by piece, and on from where it ended after whatever happened.
"use strict";
window.Resumable = class {
  static PIECE = 64 * 1024 * 1024; // bytes a request: small enough for the limits of proxies
  static WAITS = [1, 2, 5, 10, 20, 30]; // seconds
  static AGAIN = new Set([0, 408, 423, 429, 500, 502, 503, 504]);

  constructor(file, { url, csrf, metadata, name }) {
    Object.assign(this, { file, base: url, csrf, metadata, name });
    this.key = `modelyard.upload:${file.name}:${file.size}:${file.lastModified}`;
    this.offset = 0;
    this.failures = 0;
    this.seen = [];
    this.state = "new"; // sending, waiting, paused, done, failed, cancelled
    this.onchange = this.ondone = this.onfail = () => {};
    this.back = () => { if (this.state === "waiting") this.go(); };
    window.addEventListener("online", this.back);
  }

  // --- What the page calls ---
  async go() {
    clearTimeout(this.timer);
    this.set("sending");
    try {
      if (!this.url) this.url = await this.known() || await this.create();
      else await this.ask(this.url);
      if (this.state === "sending") this.piece();
    } catch (trouble) { this.trouble(trouble); }
  }
  pause() { this.set("paused"); clearTimeout(this.timer); if (this.request) this.request.abort(); }
  async cancel() {
    this.pause();
    this.end("cancelled");
    if (this.url) await this.call("DELETE", this.url).catch(() => {});
  }
  get speed() {
    const [first, last] = [this.seen[0], this.seen[this.seen.length - 1]];
    return first && last.at > first.at ? Math.max((last.sent - first.sent) / (last.at - first.at) * 1000, 0) : 0;
  }

  // --- The protocol ---
  call(method, url, headers = {}, body = null) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.request = request;
      request.open(method, url);
      const all = { "Tus-Resumable": "1.0.0", "X-CSRFToken": this.csrf, Accept: "application/json", ...headers };
      Object.entries(all).forEach(([name, value]) => request.setRequestHeader(name, value));
      if (body) request.upload.addEventListener("progress", (event) => this.moved(this.offset + event.loaded));
      request.addEventListener("load", () => (request.status < 300 ? resolve(request) : reject(request)));
      request.addEventListener("error", () => reject(request));
      request.addEventListener("abort", () => reject(null));
      request.send(body);
    });
  }
  async ask(url) {
    const found = await this.call("HEAD", url);
    if (Number(found.getResponseHeader("Upload-Length")) !== this.file.size) throw null;
    this.offset = Number(found.getResponseHeader("Upload-Offset"));
    this.moved(this.offset);
    return url;
  }
  async known() {
    const kept = localStorage.getItem(this.key);
    if (!kept) return null;
    try { return await this.ask(kept); } catch (trouble) {
      if (trouble && Resumable.again(trouble)) throw trouble;
      localStorage.removeItem(this.key);
      return null;
    }
  }
  // A conflict is a refusal, for the person to read; but of where to go on, the server is asked again.
  static again(request) {
    return Resumable.AGAIN.has(request.status) || (request.status === 409 && Resumable.code(request) === "upload_offset");
  }
  static code(request) {
    try { return JSON.parse(request.responseText).code; } catch { return ""; } // a proxy's own page
  }
  static encode(text) { return btoa(String.fromCharCode(...new TextEncoder().encode(text))); }
  get changed() { return `last_modified ${Resumable.encode(String(this.file.lastModified))}`; }
  async create() {
    const { encode } = Resumable;
    const told = Object.entries(this.metadata).filter(([, value]) => value).map(([name, value]) => `${name} ${encode(value)}`);
    let url;
    try {
      const made = await this.call("POST", this.base, { "Upload-Length": this.file.size, "Upload-Metadata": [...told, this.changed].join(",") });
      url = made.getResponseHeader("Location");
    } catch (trouble) {
      url = trouble && Resumable.code(trouble) === "upload_unfinished" ? await this.begun() : null;
      if (!url) throw trouble;
    }
    localStorage.setItem(this.key, url);
    return url;
  }
  // The same person began to send this file from somewhere else: it goes on here. Another state of it has its own time.
  async begun() {
    const listed = await fetch(this.base, { headers: { Accept: "application/json" } });
    const same = (await listed.json()).results.find((each) => each.file_name === this.file.name && each.length === this.file.size);
    if (!same) return null;
    const found = await this.call("HEAD", `${this.base}${same.id}`);
    const told = (found.getResponseHeader("Upload-Metadata") || "").split(",");
    return told.includes(this.changed) ? this.ask(`${this.base}${same.id}`) : null;
  }
  async piece() {
    const part = this.file.slice(this.offset, this.offset + Resumable.PIECE);
    const headers = { "Upload-Offset": this.offset, "Content-Type": "application/offset+octet-stream" };
    try {
      const answer = await this.call("PATCH", this.url, headers, part);
      this.failures = 0;
      this.offset = Number(answer.getResponseHeader("Upload-Offset"));
      const model = answer.getResponseHeader("Modelyard-Model");
      if (model) { this.end("done"); this.ondone(model); } else if (this.state === "sending") this.piece();
    } catch (trouble) { this.trouble(trouble); }
  }

  // --- What happens to it ---
  trouble(request) {
    if (this.state !== "sending") return; // paused or cancelled: the request was given up
    if (request && !Resumable.again(request)) { this.end("failed"); this.onfail(request.status, request.responseText); return; }
    const seconds = Resumable.WAITS[Math.min(this.failures, Resumable.WAITS.length - 1)];
    this.failures += 1;
    this.wait = seconds;
    this.seen = [];
    this.set("waiting");
    this.timer = setTimeout(() => this.go(), seconds * 1000);
  }
  moved(sent) {
    const now = performance.now();
    if (this.seen.length && sent < this.seen[this.seen.length - 1].sent) this.seen = [];
    this.seen = [...this.seen.filter((each) => now - each.at < 5000), { at: now, sent }];
    this.sent = sent;
    this.onchange(this);
  }
  set(state) { this.state = state; if (state === "paused") this.seen = []; this.onchange(this); }
  end(state) {
    this.set(state);
    if (state !== "failed") localStorage.removeItem(this.key);
    window.removeEventListener("online", this.back);
  }
};
