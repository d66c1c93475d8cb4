// The deploy wizard: the fit while choosing, names as they are typed, and nothing lost with a session.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("wizard");
  if (!form) return;
  const said = form.querySelector("[data-wz-said]");
  const tell = (text) => { said.textContent = text; said.hidden = !text; };

  // --- What was typed and not sent yet stays in this tab, until the server has something newer ---
  const key = `modelyard:${form.dataset.draft}:${form.dataset.step}`;
  const fields = () => [...form.elements].filter((field) => field.name && !/^(csrfmiddlewaretoken|draft|step|go)$/.test(field.name));
  function valueOf(field) { return field.type === "checkbox" || field.type === "radio" ? field.checked : field.value; }
  function remember() {
    const values = fields().map((field) => [field.name, field.type === "radio" ? field.value : "", valueOf(field)]);
    try { sessionStorage.setItem(key, JSON.stringify({ stamp: form.dataset.stamp, values })); } catch { /* full or forbidden */ }
  }
  function restore() {
    let kept = null;
    try { kept = JSON.parse(sessionStorage.getItem(key)); } catch { /* nothing that can be read */ }
    if (!kept) return false;
    if (kept.stamp !== form.dataset.stamp) { sessionStorage.removeItem(key); return false; }
    let changed = false;
    for (const [name, value, wanted] of kept.values) {
      const field = fields().find((each) => each.name === name && (each.type !== "radio" || each.value === value));
      if (!field || valueOf(field) === wanted) continue;
      if (typeof wanted === "boolean") field.checked = wanted; else field.value = wanted;
      changed = true;
    }
    return changed;
  }

  // --- Who can serve it, and with what memory ---
  const fit = document.getElementById("fit");
  let waiting = null;
  let asked = 0;
  let wrong = false; // what is told is that it couldn't be asked
  function tellWrong(text) {
    if (text || wrong) tell(text);
    wrong = Boolean(text);
  }
  // What somebody has chosen there while the answer was on its way, and where they are.
  function chosenIn(place) {
    const checked = place.querySelector("[name=runtime]:checked");
    const at = place.contains(document.activeElement) ? document.activeElement : null;
    const same = (name, value) => [...place.querySelectorAll("input")].find((each) => each.name === name && each.value === value && !each.disabled);
    return () => {
      const again = checked && same("runtime", checked.value);
      if (again) again.checked = true;
      const focus = at && (same(at.name, at.value) || (at.id && document.getElementById(at.id)));
      if (focus) focus.focus();
    };
  }
  async function judge() {
    const turn = ++asked;
    fit.setAttribute("aria-busy", "true");
    fit.classList.add("my-asking");
    try {
      const answer = await fetch(form.dataset.fitUrl, { method: "POST", redirect: "manual", body: new FormData(form) });
      if (turn !== asked) return;
      if (answer.type === "opaqueredirect" || answer.status === 403) { tellWrong(form.dataset.saidLost); return; }
      if (!answer.ok) { tellWrong(form.dataset.saidFailed); return; }
      const text = await answer.text();
      if (turn !== asked) return;
      const open = [...fit.querySelectorAll("details")].map((each) => each.open);
      const back = chosenIn(fit);
      fit.innerHTML = text;
      back();
      tellWrong("");
      fit.querySelectorAll("details").forEach((each, index) => { each.open = open[index] || false; });
      const words = [...fit.querySelectorAll("[data-summary]")].map((each) => each.textContent.trim()).join(" ");
      form.querySelector("[data-fit-said]").textContent = words;
    } catch { if (turn === asked) tellWrong(form.dataset.saidFailed); } finally {
      if (turn === asked) { fit.classList.remove("my-asking"); fit.removeAttribute("aria-busy"); }
    }
  }
  function soon(event) {
    if (!fit) return;
    const only = fit.dataset.fitOn;
    if (only && event.target.name !== only) return;
    clearTimeout(waiting);
    waiting = setTimeout(judge, event.type === "input" ? 500 : 100);
  }

  // --- Names ---
  const name = form.querySelector("#id_name");
  const model = form.querySelector("#id_model");
  const naming = form.querySelector("[data-name-url]");
  let suggested = naming ? naming.dataset.suggested : ""; // a name that nobody typed may follow the model
  async function check(about) {
    const query = new URLSearchParams({ name: name.value, model: model.value });
    const answer = await fetch(`${naming.dataset.nameUrl}?${query}`, { redirect: "manual" });
    if (!answer.ok) return;
    const found = await answer.json();
    if (about === model && (!name.value || name.value === suggested)) {
      name.value = suggested = found.free;
      found.problem = "";
      remember();
    }
    form.querySelector("[data-name-said]").textContent = name.value ? found.problem : "";
    name.setAttribute("aria-invalid", String(Boolean(name.value && found.problem)));
  }
  if (name && model) [name, model].forEach((field) => field.addEventListener("change", () => check(field).catch(() => {})));

  form.addEventListener("input", (event) => { remember(); soon(event); });
  form.addEventListener("change", (event) => { remember(); soon(event); });
  if (restore()) { tell(form.dataset.saidRestored); if (fit) judge(); }
  form.addEventListener("submit", (event) => {
    if (event.submitter && event.submitter.value === "discard") sessionStorage.removeItem(key);
  });

  // --- A proof is asked for only with an optimization ---
  const proof = form.querySelector("[data-wz-proof]");
  function prove() {
    const chosen = form.querySelector("[name=recipe]:checked");
    proof.hidden = !chosen || !chosen.value;
  }
  if (proof) { form.addEventListener("change", prove); prove(); }
});

// What is in the way is told first; a browser leaves `autofocus` alone where something had the focus already.
window.addEventListener("load", () => {
  const summary = document.querySelector("#wz-summary");
  if (summary) summary.focus();
});
