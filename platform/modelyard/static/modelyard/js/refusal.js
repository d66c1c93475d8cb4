// A page that says why there is none: in the theme that was chosen for the others, and with a way back.
"use strict";
(() => {
  let theme = "auto";
  try { theme = JSON.parse(localStorage.getItem("adminTheme")) || theme; } catch { /* forbidden, or not ours */ }
  const dark = theme === "dark" || (theme === "auto" && window.matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", dark);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-back]")) history.back();
  });
})();
