// The threshold: moved by the slider, saved in this browser, and what it decides.
let threshold = null, given = null, saved = null;

// another service of this site has another path
const savedUnder = () => "vlad threshold " + location.pathname + " " + chosen().name;

function findSaved() {
  const found = JSON.parse(remembered(savedUnder()) || "null");
  saved = found ? found.value : null;
  $("stale").hidden = true;
  if (found && found.own !== chosen().threshold) {  // the detector was calibrated since
    saved = null; remember(savedUnder(), null);
    $("stale").hidden = false;
    $("stale").textContent = "The calibration of " + chosen().name + " changed, so your threshold " + shown(found.value) + " no longer holds and was removed.";
  }
}

function save() {
  const kept = remember(savedUnder(), JSON.stringify({ value: threshold, own: chosen().threshold }));
  if (!kept) { say("This browser does not let the page save a threshold; allow storage for this site.", true); return; }
  saved = threshold; judge();
}

function reset() {
  const rescore = saved !== null;  // replies to a threshold of one's own do not abstain
  remember(savedUnder(), null); saved = null;
  if (rescore) { again(); } else { threshold = given; judge(); }
}

function word(one) {
  if (!one.reply || threshold === null) { return ""; }
  if (one.reply.abstain && threshold === given) { return "unsure"; }
  return Threshold.verdict(one.reply.image_score, threshold);
}

function judge() {
  const good = images.filter((one) => one.reply), scores = good.map((one) => one.reply.image_score);
  const edge = [...scores, ...(threshold === null ? [] : [threshold])];
  let from = Math.min(...edge), to = Math.max(...edge);
  const room = (to - from) * 0.04 || 0.01;
  from -= room; to += room;
  const ready = scores.length > 0;
  $("slider").disabled = $("threshold").disabled = !ready;
  $("csv").disabled = $("clear").disabled = images.length === 0;
  $("ticks").replaceChildren();
  // a slider that is being moved keeps its range, unless new scores lie outside it
  const fits = scores.every((score) => score >= Number($("slider").min) && score <= Number($("slider").max));
  if (ready && !(fits && document.activeElement === $("slider"))) {
    Object.assign($("slider"), { min: from, max: to, step: (to - from) / 1000, value: threshold === null ? to : threshold });
  }
  from = Number($("slider").min); to = Number($("slider").max);
  if (document.activeElement !== $("threshold")) { $("threshold").value = threshold === null ? "" : shown(threshold); }
  good.forEach((one) => {
    const kind = word(one), x = 100 * (one.reply.image_score - from) / (to - from);
    $("ticks").append(draw("line", { class: kind, x1: x, x2: x, y1: 0, y2: 10 }));
    one.verdict.className = "verdict " + kind; one.verdict.textContent = kind;
  });
  images.filter((one) => !one.reply).forEach((one) => { one.verdict.textContent = ""; });
  const left = images.filter((one) => one.state !== "done").length, failed = images.filter((one) => one.error).length;
  const parts = images.length ? [counted(images.length, "image")] : [];
  if (threshold !== null && ready) { parts.push(good.filter((one) => word(one) === "anomalous").length + " anomalous"); }
  if (failed) { parts.push(failed + " failed"); }
  if (left) { parts.push(left + " to go"); }
  say(parts.join(" · "));
  whose(ready); filter(); showMarks(); showLive();
}

function whose(ready) {
  const mine = saved !== null && threshold === saved, moved = threshold !== null && threshold !== (saved === null ? given : saved);
  let text = "Threshold";
  if (ready && threshold === null) { text += ": move it to see verdicts"; }
  if (mine) { text = "Your threshold, saved in this browser"; }
  if (moved) { text += ", moved by you and not saved"; }
  $("judged").textContent = text;
  $("save").disabled = !moved; $("reset").disabled = !mine && !moved;
  $("same").hidden = !mine && !moved;
  if (threshold !== null) {
    $("command").textContent = "vlad score IMAGES --detector DIR --threshold " +
      Threshold.shortest(threshold, images.filter((one) => one.reply).map((one) => one.reply.image_score));
  }
}

function move(value) {
  if (value !== "" && Number.isFinite(Number(value))) { threshold = Number(value); judge(); }
}
