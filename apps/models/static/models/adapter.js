// The base model of an adapter that is about to be sent: found by what the adapter names, chosen by the person.
"use strict";
window.adapterBase = (() => {
  const place = document.querySelector("[data-adapter]");
  const select = place && place.querySelector("select");
  const said = place && place.querySelector("[data-adapter-said]");
  const plain = (name) => name.trim().replace(/\/+$/, "").toLowerCase();
  function matching(named) {
    const wanted = plain(named);
    const short = wanted.split("/").pop();
    const names = (option) => (option.dataset.names || "").split("|").map(plain);
    const options = [...select.options].filter((option) => option.value);
    return options.find((option) => names(option).includes(wanted)) || options.find((option) => names(option)[0] === short);
  }
  return {
    // `named`: what adapter_config.json says; null where the file is no adapter.
    offer(named) {
      if (!place) return;
      place.hidden = named === null;
      select.value = "";
      if (named === null) return;
      const found = named ? matching(named) : null;
      if (found) select.value = found.value;
      const words = found ? place.dataset.known : named ? place.dataset.unknown : place.dataset.unnamed;
      said.textContent = words.replace("%s", () => named);
    },
    get chosen() { return place && !place.hidden ? select.value : ""; },
  };
})();
