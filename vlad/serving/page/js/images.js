// The images of this page: a card each, scored a few at once.
const AT_ONCE = 6;
let generation = 0, running = 0;

function again() {
  generation += 1; threshold = given = saved;
  images.forEach((one) => { one.reply = one.map = one.error = one.why = null; one.state = "waiting"; show(one); });
  work(); judge();
}

// two files of one name would be one image in a table
function unique(name) {
  const taken = new Set(images.map((one) => one.name)), dot = name.lastIndexOf(".") < 1 ? name.length : name.lastIndexOf(".");
  let found = name;
  for (let i = 2; taken.has(found); i += 1) { found = name.slice(0, dot) + " (" + i + ")" + name.slice(dot); }
  return found;
}

function add(files, still) {
  for (const file of files) {
    const one = { file, name: unique(file.name), url: URL.createObjectURL(file), state: "waiting", still, mark: null, unsaved: "", why: null };
    one.card = make("li", "card");
    one.view = make("button", "view"); one.view.type = "button"; one.view.setAttribute("aria-label", "Full size: " + one.name);
    one.image = make("img"); one.image.src = one.url; one.image.alt = "";
    one.image.addEventListener("error", () => one.image.replaceWith(make("span", "hint", "This browser cannot show this image.")));
    one.heat = make("canvas", "heat"); one.heat.width = one.heat.height = 1;
    one.regions = draw("svg", { class: "regions", "aria-hidden": "true" });
    one.view.append(one.image, one.heat, one.regions);
    one.view.addEventListener("click", () => { select(one); enlarge(); });
    one.view.addEventListener("focus", () => select(one));
    one.score = make("span", "score"); one.verdict = make("span", "verdict"); one.note = make("p", "hint");
    const line = make("div", "line"), body = make("div", "body");
    line.append(one.score, one.verdict);
    body.append(line, make("p", "name", one.name), one.note, markers(one));
    one.card.append(one.view, body);
    $("cards").append(one.card);
    images.push(one); show(one);
  }
  work(); judge();
}

async function work() {
  const now = generation;
  while (running < AT_ONCE) {
    const one = images.find((item) => item.state === "waiting");
    if (!one || !chosen()) { break; }
    one.state = "asked"; running += 1;
    score(one).catch((error) => { if (now === generation) { one.error = error.message; } }).finally(() => {
      running -= 1;
      if (now === generation) { one.state = "done"; }
      work();
      if (!images.some((item) => item.state !== "done")) {
        arrange();
        refresh().catch((error) => say(error.message, true));
      }
      show(one); judge();
    });
  }
}

async function score(one) {
  if (one.file.size > limits.bytes * 0.99) { throw new Error("The image is larger than the " + limits.bytes + " bytes that a request may have."); }
  const now = generation, form = new FormData(), detector = chosen();
  form.append("images", one.file); form.append("detector", detector.name); form.append("map", "float32");
  if (detector.reads && $("category").value.trim()) { form.append("category", $("category").value.trim()); }
  if (saved !== null) { form.append("threshold", saved); }
  const reply = await ask("v1/score", { method: "POST", body: form });
  if (now !== generation) { return; }
  one.reply = reply.images[0];
  const found = one.reply.map, bytes = Uint8Array.from(atob(found.data), (c) => c.charCodeAt(0));
  one.map = { width: found.width, height: found.height, values: new Float32Array(bytes.buffer) };
  one.category = reply.category; one.limit = reply.map_threshold;
  if (given === null && reply.threshold !== null) { given = reply.threshold; }
  if (threshold === null) { threshold = given; }
}

function show(one) {
  const reply = one.reply;
  one.regions.replaceChildren();
  one.score.textContent = reply ? shown(reply.image_score) : "";
  one.note.textContent = one.error || (reply ? "" : "…");
  paint(one); one.asks.hidden = !reply;
  if (reply) {
    const notes = reply.p_value === null ? [] : ["p " + shown(reply.p_value)];
    if (reply.kind) { notes.push("nearest known defect: " + reply.kind); }
    const regions = reply.regions || [], path = (lines) => lines.map((line) => "M" + line.map((p) => p.join(" ")).join("L") + "Z").join("");
    if (regions.length) { notes.push(counted(regions.length, "region")); }
    one.regions.setAttribute("viewBox", "0 0 " + reply.width + " " + reply.height);
    one.regions.append(draw("path", { d: path(regions.flatMap((region) => region.outlines)) }));
    const roi = chosen().roi;
    if (roi) {
      const [, , width, height] = roi.box.split(" ");
      const scale = "scale(" + reply.width / width + " " + reply.height / height + ")";
      one.regions.append(draw("path", { class: "roi", transform: scale, d: roi.path }));
    }
    one.note.textContent = notes.join(" · ");
  }
  if (one === current) { showLarge(); }
}

function drop(one) {
  URL.revokeObjectURL(one.url); one.card.remove();
  images = images.filter((item) => item !== one);
  if (one === current) { current = null; }
}

function clear() {
  const lost = unsaved().length;
  if (lost && !confirm(counted(lost, "mark") + " would be lost: neither saved by the service nor downloaded. Clear anyway?")) { return; }
  images.forEach(drop); marks = [];
  again(); showMarks();
}

function csv() {
  const one = chosen(), rows = [["name", "detector", "head", "category", "image_score", "p_value", "threshold", "verdict", "kind", "regions", "error"]];
  visible().forEach((item) => {
    const reply = item.reply || {};
    rows.push([Csv.text(item.name), one.name, one.head, Csv.text(item.category || ""), reply.image_score, reply.p_value, threshold, word(item), Csv.text(reply.kind || ""), reply.regions && reply.regions.length, Csv.text(item.error || "")]);
  });
  Csv.download("scores.csv", rows.map(Csv.line).join(""));
}
