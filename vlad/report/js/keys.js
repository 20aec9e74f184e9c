// What keys do: names of commands of report.js, for all places without a text field.
const KEYS = [
  [["j", "ArrowRight"], "next", "j  →", "next image"],
  [["k", "ArrowLeft"], "previous", "k  ←", "previous image"],
  [["g"], "good", "g", "mark it as good, and go on"],
  [["d"], "defective", "d", "mark it as defective, give its kind or none, and go on"],
  [["u"], "undo", "u", "undo the last mark"],
  [["h"], "heat", "h", "show or hide its heat map"],
  [["w"], "why", "w", "why it is anomalous, where reasons are known"],
  [["z"], "zoom", "z", "full size: fit, or 100 %"],
  [["/"], "search", "/", "filter by name"],
  [["?"], "help", "?", "these keys"],
];

const Keys = {
  start: (commands) => {
    document.querySelector(".shortcuts").replaceChildren(
      ...[...KEYS.map(([, , keys, words]) => [keys, words]), ["Enter", "full size"], ["Escape", "back"]]
        .flatMap(([keys, words]) => [make("dt", "", keys), make("dd", "", words)]));
    document.addEventListener("keydown", (event) => {
      const target = event.target, typed = target.closest("select, textarea, input:not([type=radio], [type=range])");
      if (typed && event.key === "Escape") { target.blur(); }
      if (typed || event.ctrlKey || event.metaKey || event.altKey) { return; }
      // arrows move a slider or a choice that has the focus, and scroll an image at 100 %
      const own = target.closest("input") || target.closest(".actual .stage");
      if (document.querySelector("dialog[open]:not(#full)") || (own && event.key.startsWith("Arrow"))) { return; }
      const found = KEYS.find(([keys]) => keys.includes(event.key));
      if (!found) { return; }
      event.preventDefault();
      commands[found[1]]();
    });
  },
};
