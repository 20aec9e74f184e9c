// The keyboard: one key a step, unless somebody is typing.
const KEYS = {
  j: () => step(1), ArrowRight: () => step(1), ArrowDown: () => step(1),
  k: () => step(-1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
  g: () => { if (current) { mark(current, "good"); } }, d: askKind, u: undo,
  h: toggleHeat, z: () => { if ($("large").open) { zoom(); } },
  "?": () => { if ($("help").open) { $("help").close(); } else { $("help").showModal(); } },
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("kinds").open) { return; }
  if (event.target.matches("input:not([type=radio]):not([type=range]), select")) { return; }
  if (event.key.startsWith("Arrow") && event.target.matches("input")) { return; }  // it moves the slider
  if ($("help").open && event.key !== "?") { return; }
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
}
