// Times in the zone of who looks: near ones as "5 minutes ago", others by the clock; the whole of it on hovering.
// `<time datetime="…" data-show="clock|date|relative">` chooses; one with markup inside keeps its text.
"use strict";
(() => {
  const my = window.modelyard;
  const NEAR = 24 * 3600; // seconds
  const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const language = () => document.documentElement.lang || undefined;

  const whole = (moment) => new Intl.DateTimeFormat(language(), {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
    timeZoneName: "short",
  }).format(moment);
  const clock = (moment) => new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(moment);
  const day = (moment) => new Intl.DateTimeFormat(language(), { dateStyle: "medium" }).format(moment);
  function relative(moment) {
    const seconds = Math.round((moment - Date.now()) / 1000);
    const [unit, size] = STEPS.find(([, each]) => Math.abs(seconds) >= each) || STEPS[3];
    return new Intl.RelativeTimeFormat(language(), { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
  }

  function said(moment, how) {
    if (how === "clock") return clock(moment);
    if (how === "date") return day(moment);
    const near = Math.abs(moment - Date.now()) < NEAR * 1000;
    return how === "relative" || near ? relative(moment) : clock(moment);
  }

  my.times = (root = document) => {
    my.$$("time[datetime*=T]", root).forEach((each) => {
      const moment = new Date(each.dateTime);
      if (Number.isNaN(moment.getTime())) return;
      const title = whole(moment);
      if (each.title !== title) each.title = title;
      if (each.childElementCount) return;
      const words = said(moment, each.dataset.show);
      if (each.textContent !== words) each.textContent = words;
    });
  };

  my.ready(() => {
    my.times();
    setInterval(() => { if (!document.hidden) my.times(); }, 15000);
    const added = (change) => [...change.addedNodes].some((node) => node.nodeType === 1 && (
      node.matches("time") || node.querySelector("time")));
    new MutationObserver((changes) => { if (changes.some(added)) my.times(); })
      .observe(document.body, { childList: true, subtree: true });
  });
})();
