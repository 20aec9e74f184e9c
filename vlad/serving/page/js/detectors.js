// The detectors of the service: which one scores, and new ones.
let detectors = [], limits = {}, keepsLabels = false;

const chosen = () => detectors.find((one) => one.name === $("detector").value);

async function list(name) {
  const found = await ask("v1/detectors");
  detectors = found.detectors; limits = found.limits; keepsLabels = found.labels;
  $("detector").replaceChildren(...detectors.map((one) => new Option(one.name, one.name)));
  if (detectors.some((one) => one.name === name)) { $("detector").value = name; }
  choose(); showMarks();
}

function choose() {
  const one = chosen();
  $("read").hidden = !one.reads;
  $("category").value = one.category || "";
  $("delete").hidden = !one.made;
  $("delete").textContent = "Delete " + one.name;
  let words = one.head + " on " + one.backbone + ". ";
  words += one.threshold === null ? "Not calibrated: choose the threshold yourself." :
    "Calibrated: images that score above " + shown(one.threshold) + " are flagged as anomalous.";
  const sentences = [words, ...one.basis];
  if (one.roi) { sentences.push("Only the region of interest counts; a dashed line shows it."); }
  $("lead").textContent = sentences.join(" ");
  showDrift(); findSaved();
  again();
}

// What changes only when a detector is replaced.
const facts = ({ drift, ...others }) => JSON.stringify(others);

// The drift of the images scored so far; all are scored again if the detector was replaced meanwhile.
async function refresh() {
  const found = (await ask("v1/detectors")).detectors, one = chosen();
  const now = found.find((other) => other.name === one.name);
  if (now && facts(now) === facts(one)) { one.drift = now.drift; showDrift(); return; }
  await list(one.name);
  const words = one.name + (now ? " was replaced" : " is gone") + ", so " + chosen().name + " scores all images again.";
  $("stale").textContent = [words, $("stale").hidden ? "" : $("stale").textContent].join(" ");
  $("stale").hidden = false;
}

function showDrift() {
  const drift = chosen().drift;
  $("drift").hidden = !drift || !drift.sentence;
  $("drift").textContent = drift ? drift.sentence : "";
  $("drift").classList.toggle("bad", Boolean(drift) && drift.moved.length > 0);
}

async function fit(event) {
  event.preventDefault();
  const form = new FormData(), name = $("name").value, files = Array.from($("normals").files);
  if (files.length > limits.normals) { say("A detector takes at most " + limits.normals + " normal images; choose fewer.", true); return; }
  form.append("name", name); form.append("head", $("head").value);
  if (!$("about").hidden && $("words").value.trim()) { form.append("category", $("words").value.trim()); }
  files.forEach((file) => form.append("images", file));
  $("make-it").disabled = true; say("Fitting " + name + "…");
  try { await ask("v1/detectors", { method: "POST", body: form }); await list(name); $("fit").reset(); $("about").hidden = true; }
  catch (error) { say(error.message, true); }
  $("make-it").disabled = false;
}

const begin = () => list().catch((error) => { $("lead").textContent = error.message; });
const forget = () => ask("v1/detectors/" + chosen().name, { method: "DELETE" })
  .then(() => list()).catch((error) => say(error.message, true));
