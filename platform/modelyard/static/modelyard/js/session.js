// A session that ends while a page is open: log in again in place, and nothing typed is lost.
"use strict";
(() => {
  const my = window.modelyard;
  const FRESH = 60000; // milliseconds in which a session that answered is taken to be there
  const PATIENCE = 30000; // milliseconds for an answer that nobody asked for by hand
  let answered = Date.now();
  let refused = false; // the person closed the dialog: nothing asks again by itself
  let waiting = null;

  const ended = (answer) => answer.type === "opaqueredirect" || answer.status === 401;
  const ending = () => Object.assign(new Error(my.text("sessionEnded")), { name: "SessionEnded" });

  /** Fetch from this site; where the session has ended, the person logs in and it is asked again. */
  my.ask = async (address, options = {}) => {
    const { quiet, ...rest } = options;
    if (quiet && refused) throw ending();
    const method = (rest.method || "GET").toUpperCase();
    const headers = method === "GET" ? rest.headers : { ...rest.headers, "X-CSRFToken": my.token() };
    const signal = quiet ? AbortSignal.timeout(PATIENCE) : rest.signal;
    const answer = await fetch(address, { ...rest, headers, signal, redirect: "manual" });
    if (!ended(answer)) {
      answered = Date.now();
      return answer;
    }
    await my.login();
    return my.ask(address, options);
  };

  /** Resolves once the person is logged in again; rejects where they would rather not. */
  my.login = () => {
    const dialog = my.$("#my-login");
    if (!dialog) { location.reload(); return new Promise(() => {}); }
    if (waiting) return waiting;
    waiting = new Promise((resolve, reject) => {
      dialog.addEventListener("close", () => {
        waiting = null;
        refused = dialog.returnValue !== "in";
        if (refused) reject(ending());
        else resolve();
      }, { once: true });
    });
    dialog.returnValue = "";
    dialog.showModal();
    my.$("[name=password]", dialog).focus();
    return waiting;
  };

  async function logIn(form) {
    const page = await (await fetch(form.action)).text();
    const fresh = new DOMParser().parseFromString(page, "text/html").querySelector("[name=csrfmiddlewaretoken]");
    const body = new URLSearchParams(new FormData(form));
    body.set("csrfmiddlewaretoken", fresh ? fresh.value : "");
    const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
    if (answer.type !== "opaqueredirect") return false;
    const { csrf } = await (await fetch(form.dataset.session)).json();
    // Logging in changes the token: the page's forms would be refused with the one they have.
    my.$$("[name=csrfmiddlewaretoken]").forEach((field) => { field.value = csrf; });
    answered = Date.now();
    return true;
  }

  // Before a form leaves a page that has been open for long, see that it will be taken. Listened for at once: what
  // keeps a form from being sent twice must hear of it later.
  document.addEventListener("submit", async (event) => {
    const sent = event.target;
    const dialog = my.$("#my-login form");
    const method = (event.submitter && event.submitter.formMethod) || sent.method;
    if (!dialog || event.defaultPrevented || method !== "post" || Date.now() - answered < FRESH) return;
    event.preventDefault();
    try {
      await my.ask(dialog.dataset.session);
    } catch (error) {
      if (error.message) my.toast(error.message, true);
      return;
    }
    answered = Date.now();
    sent.requestSubmit(event.submitter);
  });

  my.ready(() => {
    const dialog = my.$("#my-login");
    if (!dialog) return;
    const form = my.$("form", dialog);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      event.stopPropagation();
      const said = my.$("[role=alert]", dialog);
      said.textContent = "";
      try {
        if (await logIn(form)) {
          form.reset();
          dialog.close("in");
          return;
        }
        said.textContent = form.dataset.wrong;
      } catch { said.textContent = form.dataset.unreachable; }
    });
  });
})();
