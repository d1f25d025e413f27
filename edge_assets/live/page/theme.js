// The theme that was chosen, set before anything is painted. A plain script: a module would come a moment too late.
"use strict";
try {
  const chosen = localStorage.getItem("edge.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage is forbidden here: as the system has it
}
