// What a person says of images: good or defective; kept by the service, or downloaded.
let marks = [];  // those that stand, latest last
let sending = Promise.resolve();  // one request after the other, as the marks came

const PLAIN = /^([\p{L}\p{N}_][^;\t]*)?$/u;  // nothing that a spreadsheet would take apart or run
const latest = (one) => marks.findLast((mark) => mark.one === one) || null;
const unsaved = () => marks.filter((mark) => !mark.kept && !mark.downloaded);

function markers(one) {
  one.good = make("button", "marker", "Good"); one.bad = make("button", "marker", "Defective");
  one.says = make("p", "hint says");
  for (const button of [one.good, one.bad]) { button.type = "button"; pressed(button, false); }
  one.good.addEventListener("click", () => { select(one); mark(one, "good"); });
  one.bad.addEventListener("click", () => { select(one); askKind(); });
  const line = make("div", "markers"), both = make("div");
  line.append(one.good, one.bad); both.append(line, one.says);
  return both;
}

function mark(one, label, kind = "") {
  const by = $("by").value.trim(), before = one.mark;
  if (!PLAIN.test(by) || !PLAIN.test(kind)) {
    say("Names and kinds of defects begin with a letter or digit and hold no semicolon; correct it.", true); return;
  }
  if (before && before.label === label && before.kind === kind && before.by === by && !one.unsaved) { return; }
  const made = { one, label, kind, by, time: new Date().toISOString(), digest: "", kept: false, downloaded: false };
  marks.push(made); one.mark = made;
  send(one, async () => {
    made.digest = await digest(one.file);
    if (!keepsLabels) { return; }
    const form = new FormData();
    form.append("image", one.file);
    Object.entries({ label, kind, by }).forEach(([name, text]) => { if (text) { form.append(name, text); } });
    const row = await ask("v1/labels", { method: "POST", body: form });
    made.digest = row.digest; made.time = row.time; made.kept = true;
  });
}

function undo() {
  const gone = marks.pop();
  if (!gone) { return; }
  gone.one.mark = latest(gone.one);
  select(gone.one);
  send(gone.one, async () => {
    if (!gone.kept) { return; }
    const form = new FormData();
    if (gone.by) { form.append("by", gone.by); }
    await ask("v1/labels/" + gone.digest, { method: "DELETE", body: form });
  });
}

function send(one, task) {
  showMarks(); filter(); showLarge();
  sending = sending.then(task).then(() => { one.unsaved = ""; }, (error) => { one.unsaved = error.message; }).then(showMarks);
}

async function digest(file) {
  if (!crypto.subtle) { return ""; }  // only on localhost and https
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return Array.from(bytes.slice(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function showMarks() {
  const marked = images.filter((one) => one.mark), parts = [];
  images.forEach((one) => {
    const label = one.mark ? one.mark.label : "";
    pressed(one.good, label === "good"); pressed(one.bad, label === "defective");
    const kind = one.mark && one.mark.kind ? "kind: " + one.mark.kind : "";
    one.says.textContent = [kind, one.unsaved && "not saved: " + one.unsaved].filter(Boolean).join(" · ");
    one.says.classList.toggle("bad", Boolean(one.unsaved));
  });
  const good = marked.filter((one) => one.mark.label === "good"), bad = marked.filter((one) => one.mark.label === "defective");
  parts.push(marked.length ? counted(marked.length, "image") + " marked" : "No image is marked");
  if (threshold !== null && good.length) { parts.push("of " + good.length + " good, " + good.filter((one) => word(one) === "anomalous").length + " would alarm"); }
  if (threshold !== null && bad.length) { parts.push("of " + bad.length + " defective, " + bad.filter((one) => word(one) === "normal").length + " would pass"); }
  $("marked").textContent = parts.join("; ") + ".";
  $("where").textContent = keepsLabels ? "This service keeps marked images and their labels." : "This service keeps no labels (vlad serve --review DIR); download them.";
  $("labels").disabled = $("undo").disabled = marks.length === 0;
  $("known-kinds").replaceChildren(...[...new Set(marks.map((mark) => mark.kind).filter(Boolean))].map((kind) => new Option(kind)));
  showLarge();
}

async function downloadLabels() {
  await sending;
  const last = marks.filter((mark, i) => !marks.slice(i + 1).some((later) => later.one === mark.one && later.by === mark.by));
  const path = (name) => /^[=+\-@]/.test(name) ? "./" + name : name;  // not a formula, and still the same file
  download("labels.csv", [["path", "label", "kind", "digest", "by", "time"],
    ...last.map((mark) => [path(mark.one.file.name), mark.label, mark.kind, mark.digest, mark.by, mark.time])]);
  marks.forEach((mark) => { mark.downloaded = true; });
}

function askKind() {
  if (!current) { return; }
  $("kind").value = current.mark ? current.mark.kind : "";
  $("kinds").showModal();
}

function takeKind(event) {
  event.preventDefault();
  $("kinds").close();
  mark(current, "defective", $("kind").value.trim());
}
