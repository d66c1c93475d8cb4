// The home page: its charts, and what changes while it is open.
"use strict";
(() => {
  const my = window.modelyard;
  const language = () => document.documentElement.lang || undefined;

  // --- Now ---
  const places = my.$$("[data-part]");
  places.forEach(my.seed);

  function follow(address) {
    const told = my.watch();
    async function look() {
      if (document.hidden || my.$("dialog[open]")) return;
      try {
        const answer = await my.ask(address, { quiet: true });
        if (!answer.ok) throw new Error(answer.status);
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        told(true);
        // A question that was opened meanwhile is about what is there.
        if (my.$("dialog[open]")) return;
        places.forEach((each) => {
          const other = my.$(`[data-part="${each.dataset.part}"]`, fresh);
          if (other) my.refill(each, other.innerHTML);
        });
      } catch (error) { told(false, error); }
    }
    const again = () => setTimeout(() => look().finally(again), 5000);
    again();
    document.addEventListener("visibilitychange", look);
  }

  // --- Traffic ---
  const number = (value) => new Intl.NumberFormat(language()).format(value);
  // A day is a date of the installation's calendar, in whatever zone it is read: a date alone is midnight UTC.
  const day = (start, how) => new Intl.DateTimeFormat(language(), { ...how, timeZone: "UTC" }).format(new Date(start));
  function label(start, hours) {
    if (!hours) return day(start, { day: "numeric", month: "short" });
    return new Intl.DateTimeFormat(language(), { hour: "numeric" }).format(new Date(start));
  }

  function draw(box, labels, series) {
    const chart = window.Chart.getChart(my.$("canvas", box));
    if (!chart) return;
    chart.options.locale = language();
    const names = box.dataset.labels.split("|");
    chart.data.labels = labels;
    series.forEach((values, place) => Object.assign(chart.data.datasets[place], {
      data: values, label: names[place], clip: false, pointRadius: 3, pointStyle: "circle",
      pointBackgroundColor: chart.data.datasets[place].borderColor,
    }));
    const color = getComputedStyle(box).color;
    chart.options.plugins.legend = { display: true, position: "bottom", labels: { boxWidth: 10, boxHeight: 10, color } };
    chart.options.scales.x.ticks = { ...chart.options.scales.x.ticks, maxRotation: 0, autoSkipPadding: 12, color };
    if (box.dataset.stacked) for (const axis of ["x", "y"]) chart.options.scales[axis].stacked = true;
    chart.update();
    const most = (values) => Math.max(0, ...values.filter((value) => value !== null));
    box.setAttribute("aria-label", series.map((values, place) => `${names[place]} ≤ ${number(most(values))}`).join(", "));
  }

  function table(place, figures) {
    const { requests, tokens, latency } = figures.charts;
    const columns = [figures.requests, requests[1], tokens[0], tokens[1], latency[0], latency[1]];
    my.$("tbody", place).replaceChildren(...figures.starts.map((start, row) => {
      const line = document.createElement("tr");
      const time = document.createElement("time");
      time.dateTime = start;
      if (figures.hours) time.dataset.show = "clock";
      else time.textContent = day(start, { dateStyle: "medium" });
      line.insertCell().append(time);
      for (const column of columns) {
        const cell = line.insertCell();
        cell.className = "my-number";
        cell.textContent = column[row] === null ? place.dataset.none : number(column[row]);
      }
      return line;
    }));
  }

  function show(place, figures) {
    my.$$("[data-total]", place).forEach((total) => {
      const value = figures.totals[total.dataset.total];
      const unit = total.dataset.unit ? ` ${total.dataset.unit}` : "";
      total.textContent = value === null ? place.dataset.none : number(value) + unit;
    });
    const labels = figures.starts.map((start) => label(start, figures.hours));
    my.$$("[data-chart]", place).forEach((box) => draw(box, labels, figures.charts[box.dataset.chart]));
    my.$("[data-note]", place).textContent = figures.sampled
      ? place.dataset.sampled.replace("{n}", number(figures.sampled)) : place.dataset.exact;
    table(place, figures);
  }

  function traffic(place) {
    let period = "24h";
    async function ask(quiet) {
      const asked = period;
      const answer = await my.ask(`${place.dataset.url}?period=${asked}`, { quiet });
      if (!answer.ok) throw new Error(place.dataset.failed);
      const figures = await answer.json();
      if (asked === period) show(place, figures);
    }
    my.$$("[data-period]", place).forEach((button) => button.addEventListener("click", () => {
      period = button.dataset.period;
      my.$$("[data-period]", place).forEach((each) => {
        each.classList.toggle("my-primary", each === button);
        each.setAttribute("aria-pressed", String(each === button));
      });
      ask(false).catch((error) => my.toast(error.message, true));
    }));
    const told = my.watch();
    const look = () => document.hidden || ask(true).then(() => told(true), (error) => told(false, error));
    look();
    setInterval(look, 30000);
  }

  // unfold makes its charts when everything is there.
  window.addEventListener("load", () => {
    const now = my.$("#home-form");
    const figures = my.$("#home-traffic");
    if (now) follow(now.dataset.url);
    if (figures) traffic(figures);
  });
})();
