// Connects the parts with the page.
const on = (id, kind, act) => $(id).addEventListener(kind, act);
on("images", "change", (event) => { add(event.target.files); event.target.value = ""; });
on("detector", "change", choose);
on("category", "change", again);
on("head", "change", () => { $("about").hidden = $("head").value !== "winclip"; });
on("slider", "input", (event) => move(event.target.value));
on("threshold", "input", (event) => move(event.target.value));
on("save", "click", save);
on("reset", "click", reset);
on("fit", "submit", fit);
on("csv", "click", csv);
on("clear", "click", clear);
on("delete", "click", forget);
on("login", "submit", login);
on("order", "change", arrange);
on("labels", "click", downloadLabels);
on("undo", "click", undo);
on("ask-help", "click", () => $("help").showModal());
on("copy", "click", () => Ask.copy($("command"), $("copy")));
on("search", "input", filter);
on("by", "change", () => remember("vlad reviewer", $("by").value.trim()));
on("large-previous", "click", () => step(-1));
on("large-next", "click", () => step(1));
on("large-heat", "click", toggleHeat);
on("large-zoom", "click", zoom);
on("large-why", "click", wonder);
on("large-good", "click", () => markGood(true));
on("large-bad", "click", () => markDefective(true));
on("large-undo", "click", undo);
on("full", "close", () => { $("sheet").replaceChildren(); if (current) { current.view.focus(); } });
on("camera-start", "click", startCamera);
on("camera-stop", "click", stopCamera);
on("cameras", "change", startCamera);
on("still", "click", takeStill);
on("repeat", "click", () => { repeat(timer === null); showCamera(); });
document.querySelectorAll("dialog .close").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
document.querySelectorAll("input[name=show]").forEach((input) => input.addEventListener("change", () => { $("cards").classList.toggle("plain", input.value === "plain"); showLarge(); }));
document.querySelectorAll("input[name=verdict]").forEach((input) => input.addEventListener("change", filter));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.toggle("over", kind === "dragover"); });
}
document.addEventListener("drop", (event) => add(event.dataTransfer.files));
Keys.start({
  next: () => step(1), previous: () => step(-1), good: () => markGood(true), defective: () => markDefective(true),
  undo, heat: toggleHeat, why: wonder, zoom, search: () => { if (!$("full").open) { $("search").focus(); } }, help: () => $("help").showModal(),
});
window.addEventListener("resize", showLarge);
window.addEventListener("beforeunload", (event) => { if (unsaved().length) { event.preventDefault(); } });
$("by").value = remembered("vlad reviewer") || "";
cameraReady(); showMarks(); begin();
