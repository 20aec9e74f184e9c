// The threshold of each head, below its histogram.
const Sliders = {
  // `onMove(head, threshold)` gets null for the threshold of the run.
  start: (data, onMove) => {
    document.querySelectorAll(".chart").forEach((panel, head) => {
      const slider = panel.querySelector(".slider"), number = panel.querySelector("input[type=number]");
      const given = data.heads[head].threshold;
      slider.value = given === null ? slider.max : given;
      slider.addEventListener("input", () => onMove(head, Number(slider.value)));
      number.addEventListener("input", () => {
        if (number.value === "" || !Number.isFinite(Number(number.value))) { return; }
        slider.value = number.value;
        onMove(head, Number(number.value));
      });
      panel.querySelector(".reset").addEventListener("click", () => {
        slider.value = given === null ? slider.max : given;
        onMove(head, null);
      });
      const copy = panel.querySelector(".copy");
      copy.addEventListener("click", () => Ask.copy(panel.querySelector("code"), copy));
    });
  },

  // Show what the threshold of a head does; `labels` with the marks in them.
  show: (data, head, scores, labels, moved) => {
    const panel = document.querySelectorAll(".chart")[head], { name, fused, threshold: given } = data.heads[head];
    const threshold = moved === null ? given : moved, number = panel.querySelector("input[type=number]");
    const text = threshold === null ? "" : Threshold.shortest(threshold, scores), line = panel.querySelector(".moved");
    if (document.activeElement !== number) { number.value = text; }
    panel.querySelector(".reset").hidden = moved === null;
    panel.querySelector(".said").textContent = threshold === null ? "Move the slider to see verdicts."
      : Threshold.words(Threshold.counts(scores, labels, threshold));
    panel.querySelector(".command").hidden = threshold === null;
    if (fused && threshold !== null) { panel.querySelector(".said").append(" No command takes this number; labels set the threshold of all heads together:"); }
    panel.querySelector("code").textContent = fused
      ? "vlad calibrate " + data.out + " --labels labels.csv --fuse " + fused + " --out line.json"
      : "vlad score … " + (data.heads.length > 1 ? "--head " + name + " " : "") + "--threshold " + text;
    const slider = panel.querySelector(".slider"), low = Number(slider.min), high = Number(slider.max);
    line.toggleAttribute("hidden", moved === null);
    if (moved !== null) {
      const place = String(32 * Math.min(1, Math.max(0, (moved - low) / (high - low))));
      line.setAttribute("x1", place);
      line.setAttribute("x2", place);
    }
  },
};
