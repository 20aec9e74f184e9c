(function () {
  "use strict";
  const HEAT = {{heat}};
  const AT_ONCE = 6, SIDE = 480;
  const WRONG_KEY = "This service does not know this key; check it.";
  const $ = (id) => document.getElementById(id);
  let detectors = [], limits = {}, images = [], generation = 0, running = 0;
  let threshold = null, given = null, low = 0, high = 1, key = sessionStorage.getItem("key") || "";

  const make = (tag, name, text) => {
    const found = document.createElement(tag);
    if (name) { found.className = name; }
    if (text !== undefined) { found.textContent = text; }
    return found;
  };
  const draw = (tag, attributes) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => found.setAttribute(name, value));
    return found;
  };
  const say = (text, bad) => { $("status").textContent = text; $("status").classList.toggle("bad", Boolean(bad)); };
  const chosen = () => detectors.find((one) => one.name === $("detector").value);
  const shown = (value) => Number(value.toPrecision(4)).toString();
  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  async function ask(path, options) {
    for (;;) {
      const reply = await fetch(path, { ...options, headers: key ? { Authorization: "Bearer " + key } : {} });
      if (reply.status === 429) { await pause(Number(reply.headers.get("Retry-After")) || 1); continue; }
      $("login").hidden = reply.status !== 401;
      if (reply.status === 204) { return null; }
      if (reply.status === 401) { throw new Error(key ? WRONG_KEY : "This service requires an API key."); }
      const found = await reply.json();
      if (!reply.ok) { throw new Error(found.detail); }
      return found;
    }
  }

  async function list(name) {
    const found = await ask("v1/detectors");
    detectors = found.detectors; limits = found.limits;
    $("detector").replaceChildren(...detectors.map((one) => new Option(one.name, one.name)));
    if (name) { $("detector").value = name; }
    choose();
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
    $("lead").textContent = [words, ...one.basis].join(" ");
    again();
  }

  function again() {
    generation += 1; threshold = given = null;
    images.forEach((one) => { one.reply = one.map = one.error = null; one.state = "waiting"; show(one); });
    work(); judge();
  }

  function add(files) {
    for (const file of files) {
      const one = { file, url: URL.createObjectURL(file), state: "waiting" };
      one.card = make("li", "card");
      one.view = make("div", "view");
      one.image = make("img"); one.image.src = one.url; one.image.alt = "";
      one.image.addEventListener("error", () => one.image.replaceWith(make("p", "hint", "This browser cannot show this image.")));
      one.heat = make("canvas", "heat"); one.heat.width = one.heat.height = 1;
      one.regions = draw("svg", { class: "regions", "aria-hidden": "true" });
      one.view.append(one.image, one.heat, one.regions);
      one.score = make("span", "score"); one.verdict = make("span", "verdict"); one.note = make("p", "hint");
      const line = make("div", "line"), body = make("div", "body");
      line.append(one.score, one.verdict);
      body.append(line, make("p", "name", file.name), one.note);
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
        if (!images.some((item) => item.state !== "done")) { arrange(); }
        show(one); judge();
      });
    }
  }

  async function score(one) {
    if (one.file.size > limits.bytes * 0.99) { throw new Error("The image is larger than the " + limits.bytes + " bytes that a request may have."); }
    const now = generation, form = new FormData(), detector = chosen();
    form.append("images", one.file); form.append("detector", detector.name); form.append("map", "float32");
    if (detector.reads && $("category").value.trim()) { form.append("category", $("category").value.trim()); }
    const reply = await ask("v1/score", { method: "POST", body: form });
    if (now !== generation) { return; }
    one.reply = reply.images[0];
    const found = one.reply.map, bytes = Uint8Array.from(atob(found.data), (c) => c.charCodeAt(0));
    one.map = { width: found.width, height: found.height, values: new Float32Array(bytes.buffer) };
    one.category = reply.category; one.limit = reply.map_threshold;
    if (given === null && reply.threshold !== null) { given = reply.threshold; }
    if (threshold === null) { threshold = given; }
  }

  function arrange() {
    // one heat scale for all images: from the median of all values to nearly the highest
    const values = [];
    images.filter((one) => one.map).forEach((one) => { for (let i = 0; i < one.map.values.length; i += 7) { values.push(one.map.values[i]); } });
    values.sort((a, b) => a - b);
    low = values[Math.floor(0.5 * (values.length - 1))] || 0;
    const limit = Math.max(0, ...images.map((one) => one.limit || 0));
    high = Math.max(values[Math.floor(0.999 * (values.length - 1))] || 0, limit, low + 1e-9);
    scale(limit);
    const place = (one) => one.reply ? -one.reply.image_score : Infinity;
    images.sort((a, b) => place(a) - place(b));
    $("cards").append(...images.map((one) => one.card));
    images.forEach(paint);
  }

  function scale(limit) {
    const [from, bar, to] = $("scale").children, colours = bar.getContext("2d"), image = new ImageData(256, 1);
    HEAT.forEach((colour, i) => image.data.set(colour, 4 * i));
    colours.clearRect(0, 0, 256, 16);
    for (let y = 0; y < 16; y += 1) { colours.putImageData(image, 0, y); }
    if (limit) { colours.fillRect(Math.min(254, 255 * (limit - low) / (high - low)), 0, 2, 16); }
    from.textContent = "Heat ≤ " + shown(low);
    to.textContent = "≥ " + shown(high) + (limit ? ", regions above " + shown(limit) : "");
    $("scale").hidden = !images.some((one) => one.map);
  }

  function paint(one) {
    if (!one.map) { one.heat.width = one.heat.height = 1; return; }
    const { width, height, values } = one.map, heat = new ImageData(width, height);
    values.forEach((value, i) => {
      const level = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
      heat.data.set(HEAT[level], 4 * i);
    });
    const small = make("canvas"); small.width = width; small.height = height;
    small.getContext("2d").putImageData(heat, 0, 0);
    const scale = SIDE / Math.max(one.reply.width, one.reply.height);
    one.heat.width = Math.max(1, Math.round(one.reply.width * scale));
    one.heat.height = Math.max(1, Math.round(one.reply.height * scale));
    one.heat.getContext("2d").drawImage(small, 0, 0, one.heat.width, one.heat.height);
  }

  function show(one) {
    const reply = one.reply;
    one.regions.replaceChildren();
    one.score.textContent = reply ? shown(reply.image_score) : "";
    one.note.textContent = one.error || (reply ? "" : "…");
    if (!reply) { paint(one); return; }
    const notes = reply.p_value === null ? [] : ["p " + shown(reply.p_value)];
    if (reply.kind) { notes.push("nearest known defect: " + reply.kind); }
    const count = (reply.regions || []).length;
    if (count) {
      notes.push(count + (count > 1 ? " regions" : " region"));
      one.regions.setAttribute("viewBox", "0 0 " + reply.width + " " + reply.height);
      const lines = reply.regions.flatMap((region) => region.outlines.map((line) => "M" + line.map((p) => p.join(" ")).join("L") + "Z"));
      one.regions.append(draw("path", { d: lines.join("") }));
    }
    one.note.textContent = notes.join(" · ");
  }

  function word(one) {
    if (!one.reply || threshold === null) { return ""; }
    if (one.reply.abstain && threshold === given) { return "unsure"; }
    return one.reply.image_score > threshold ? "anomalous" : "normal";
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
    $("judged").textContent = "Threshold" + (ready && threshold === null ? ": move it to see verdicts" : "");
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
    const parts = images.length ? [images.length + (images.length > 1 ? " images" : " image")] : [];
    if (threshold !== null && ready) { parts.push(good.filter((one) => word(one) === "anomalous").length + " anomalous"); }
    if (failed) { parts.push(failed + " failed"); }
    if (left) { parts.push(left + " to go"); }
    say(parts.join(" · "));
  }

  function csv() {
    const text = (value) => /^[=+\-@\t\r]/.test(value) ? "'" + value : value;  // a spreadsheet would run it as a formula
    const cell = (value) => '"' + String(value === null || value === undefined ? "" : value).replaceAll('"', '""') + '"';
    const one = chosen(), rows = [["name", "detector", "head", "category", "image_score", "p_value", "threshold", "verdict", "kind", "regions", "error"]];
    images.forEach((item) => {
      const reply = item.reply || {};
      rows.push([text(item.file.name), one.name, one.head, text(item.category || ""), reply.image_score, reply.p_value, threshold, word(item), text(reply.kind || ""), reply.regions && reply.regions.length, text(item.error || "")]);
    });
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([rows.map((row) => row.map(cell).join(",") + "\r\n").join("")], { type: "text/csv" }));
    link.download = "scores.csv"; link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
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

  const move = (value) => { if (value !== "" && Number.isFinite(Number(value))) { threshold = Number(value); judge(); } };
  const begin = () => list().catch((error) => { $("lead").textContent = error.message; });
  $("images").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
  $("detector").addEventListener("change", choose);
  $("category").addEventListener("change", again);
  $("head").addEventListener("change", () => { $("about").hidden = $("head").value !== "winclip"; });
  $("slider").addEventListener("input", (event) => move(event.target.value));
  $("threshold").addEventListener("input", (event) => move(event.target.value));
  $("fit").addEventListener("submit", fit);
  $("csv").addEventListener("click", csv);
  $("clear").addEventListener("click", () => { images.forEach((one) => URL.revokeObjectURL(one.url)); images = []; $("cards").replaceChildren(); again(); });
  $("delete").addEventListener("click", () => ask("v1/detectors/" + chosen().name, { method: "DELETE" }).then(() => list()).catch((error) => say(error.message, true)));
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = $("key").value.trim();
    if (!/^[!-~]+$/.test(typed)) { $("lead").textContent = WRONG_KEY; return; }  // a header cannot hold it
    key = typed; sessionStorage.setItem("key", key); begin();
  });
  document.querySelectorAll("input[name=show]").forEach((input) => input.addEventListener("change", () => $("cards").classList.toggle("plain", input.value === "plain")));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.toggle("over", kind === "dragover"); });
  }
  document.addEventListener("drop", (event) => add(event.dataTransfer.files));
  begin();
})();
