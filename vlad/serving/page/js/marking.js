// What a person says of images: good or defective; kept by the service, or downloaded.
let marks = [];  // those that stand, latest last
let sending = Promise.resolve();  // one request after the other, as the marks came

const latest = (one) => marks.findLast((mark) => mark.one === one) || null;
const unsaved = () => marks.filter((mark) => !mark.kept && !mark.downloaded);

function markers(one) {
  one.good = make("button", "marker", "Good"); one.bad = make("button", "marker", "Defective");
  one.says = make("p", "hint says");
  for (const button of [one.good, one.bad]) { button.type = "button"; pressed(button, false); }
  one.good.addEventListener("click", () => { select(one); mark(one, "good"); });
  one.bad.addEventListener("click", () => { select(one); markDefective(false); });
  one.asks = make("button", "marker asks", "Why?"); one.asks.type = "button"; one.asks.hidden = true;
  one.asks.addEventListener("click", () => { select(one); wondering = true; enlarge(); });
  const line = make("div", "markers"), both = make("div");
  line.append(one.good, one.bad, one.asks); both.append(line, one.says);
  return both;
}

function mark(one, label, kind = "", onwards = false) {
  const list = visible(), next = list[list.indexOf(one) + 1];
  const made = { one, kept: false, downloaded: false, ...Marks.of(one.name, "", label, kind, $("by").value, new Date()) };
  const before = one.mark, same = (name) => before && before[name] === made[name];
  if (["label", "kind", "by"].every(same) && !one.unsaved) { return; }
  marks.push(made); one.mark = made;
  send(one, async () => {
    made.digest = await digest(one.file);
    if (keepsLabels) { await keep(made); }
  });
  if (onwards && next) { select(next); attend(); }
}

const markGood = (onwards) => { if (current) { mark(current, "good", "", onwards); } };
async function markDefective(onwards) {
  const one = current;
  if (one) { mark(one, "defective", await Ask.kind(Marks.kinds(marks)), onwards); }
}

async function keep(mark) {
  const form = new FormData();
  form.append("image", mark.one.file);
  ["label", "kind", "by"].filter((name) => mark[name]).forEach((name) => form.append(name, mark[name]));
  Object.assign(mark, { kept: true, digest: (await ask("v1/labels", { method: "POST", body: form })).digest });
}

function undo() {
  const gone = marks.pop();
  if (!gone) { return; }
  gone.one.mark = latest(gone.one);
  select(gone.one); attend();
  send(gone.one, async () => {
    if (!gone.kept) { return; }
    const before = marks.findLast((mark) => mark.one === gone.one && mark.by === gone.by);
    if (before) { await keep(before); return; }
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
  images.forEach((one) => {
    const label = one.mark ? one.mark.label : "";
    pressed(one.good, label === "good"); pressed(one.bad, label === "defective");
    const kind = one.mark && one.mark.kind ? "kind: " + one.mark.kind : "";
    one.says.textContent = [kind, one.unsaved && "not saved: " + one.unsaved].filter(Boolean).join(" · ");
    one.says.classList.toggle("bad", Boolean(one.unsaved));
  });
  const marked = images.filter((one) => one.mark), judged = images.filter((one) => one.reply);
  const labels = judged.map((one) => Marks.label(one.mark, null));
  const counts = Threshold.counts(judged.map((one) => one.reply.image_score), labels, threshold);
  const said = threshold === null || !judged.length ? "" : " " + Threshold.words(counts);
  $("marked").textContent = (marked.length ? counted(marked.length, "image") + " marked." : "No image is marked.") + said;
  $("where").textContent = keepsLabels ? "This service keeps marked images and their labels." : "This service keeps no labels (vlad serve --review DIR); download them.";
  $("labels").disabled = $("undo").disabled = $("large-undo").disabled = marks.length === 0;
  showLarge();
}

async function downloadLabels() {
  await sending;
  Csv.download("labels.csv", Marks.csv(marks));
  marks.forEach((mark) => { mark.downloaded = true; });
}
