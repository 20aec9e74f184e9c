// The report as a tool: state, and what happens when something is chosen, moved, marked.
const PAGE = 200; // cards at once
const data = JSON.parse(document.getElementById("data").textContent);
const rows = Rows.read(data), gallery = document.getElementById("gallery");
const digests = new Map(rows.map((row) => [row.path, row.digest]));
const list = gallery.querySelector(".cards"), field = (name) => gallery.querySelector("[name=" + name + "]");
const search = gallery.querySelector("input[type=search]");
const cards = new Map(Array.from(list.children, (card) => [Number(card.dataset.number), card]));
const own = new Set(cards.keys());
const state = {
  head: 0, beside: null, moved: data.heads.map(() => null), order: 0, page: 0, current: null, heat: false, zoom: false, why: false,
  log: [], marks: new Map(), wanted: { text: "", verdict: "", kind: "", marks: "" },
};
let ordered = [], shown = [], stores = true; // whether marks outlast the page

// A browser may forbid storage to a file; marks then last as long as the page.
const KEY = "vlad marks of " + location.pathname, BY = "vlad reviewer";
const store = {
  read: (key) => { try { return localStorage.getItem(key) || ""; } catch { return ""; } },
  write: (key, text) => { try { localStorage.setItem(key, text); return true; } catch { return false; } },
};
const warn = (text) => { const part = gallery.querySelector(".lost"); part.textContent = text; part.hidden = !text; };

function cardOf(row) {
  let card = cards.get(row.number);
  if (!card) { card = Cards.make(data, row); cards.set(row.number, card); }
  if (!card.querySelector(".marking")) { Cards.dress(card, row.number in data.why); }
  Cards.refresh(card, row, data, state);
  if (row === state.current) { card.setAttribute("aria-current", "true"); } else { card.removeAttribute("aria-current"); }
  return card;
}

// Draw the page of cards; `keep` leaves the page number.
function draw(keep) {
  shown = Rows.filter(ordered, state.wanted, state.head, state.moved[state.head], state.marks);
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  state.page = keep ? Math.min(state.page, pages - 1) : 0;
  for (const number of cards.keys()) { if (!own.has(number)) { cards.delete(number); } }
  for (const card of list.children) { if (!own.has(Number(card.dataset.number))) { cards.set(Number(card.dataset.number), card); } }
  const now = shown.slice(state.page * PAGE, (state.page + 1) * PAGE).map(cardOf);
  if (now.length !== list.children.length || now.some((card, i) => card !== list.children[i])) { list.replaceChildren(...now); }
  const all = rows.length, some = shown.length < all;
  const moved = state.moved[state.head];
  gallery.querySelector(".count").textContent = (some ? shown.length + " of " + all : all + (all === 1 ? " image" : " images"))
    + (moved === null ? "" : " · threshold " + Threshold.shortest(moved, data.scores[state.head]) + " by the slider");
  gallery.querySelector(".empty").hidden = shown.length > 0 || all === 0;
  const nav = gallery.querySelector(".pages");
  nav.hidden = pages === 1;
  nav.querySelector("span").textContent = "Page " + (state.page + 1) + " of " + pages;
  nav.querySelector("[data-do=back]").disabled = state.page === 0;
  nav.querySelector("[data-do=on]").disabled = state.page === pages - 1;
  if (Full.open) { if (state.current && shown.length) { present(); } else { leave(); } }
}

function present() {
  const place = shown.indexOf(state.current);
  Full.show(state.current, cardOf(state.current), data, state, place < 0 ? "" : place + 1 + " of " + shown.length);
}

// Close the full size. The browser puts the focus where it was before; the image seen last takes it.
function leave() {
  const row = Full.row;
  Full.dialog.close();
  if (shown.includes(row)) { go(row, true); }
}

function labels() { return rows.map((row) => Marks.label(state.marks.get(row.path), row.label)); }

function count(head) { Sliders.show(data, head, data.scores[head], labels(), state.moved[head]); }

// The choices of the filters, as verdicts, labels and marks make them possible.
function offer() {
  const judged = state.moved[state.head] !== null || rows.some((row) => row.codes[state.head] !== "-");
  const known = labels().some((label) => label !== null), unsure = state.moved[state.head] === null && rows.some((row) => "AN".includes(row.codes[state.head]));
  const can = { "": true, anomalous: judged, normal: judged, unsure, wrong: judged && known };
  gallery.querySelectorAll("input[name=verdict]").forEach((input) => {
    input.parentNode.hidden = !can[input.value];
    if (input.checked && !can[input.value]) { state.wanted.verdict = ""; gallery.querySelector("input[name=verdict]").checked = true; }
    input.closest("fieldset").hidden = !judged;
  });
  const kinds = [...new Set(rows.map((row) => Rows.kind(row, state.marks.get(row.path))).filter(Boolean))].sort();
  const select = field("kind"), chosen = kinds.includes(select.value) ? select.value : "";
  select.replaceChildren(new Option("All", ""), ...kinds.map((kind) => new Option(kind, kind)));
  select.value = state.wanted.kind = chosen;
  select.parentNode.hidden = kinds.length === 0;
  gallery.querySelector(".marked").textContent = state.marks.size + " marked";
  document.querySelectorAll("[data-do=undo]").forEach((button) => { button.disabled = state.log.length === 0; });
  gallery.querySelector("[data-do=labels]").disabled = state.log.length === 0;
}

function arrange() {
  ordered = Rows.order(rows, state.order, state.head, data.orders);
  const word = field("order").selectedOptions[0].textContent;
  document.getElementById("images").textContent = "Images, " + word.charAt(0).toLowerCase() + word.slice(1);
  draw(false);
}

function choose(head) {
  state.head = head;
  document.querySelectorAll("[data-head]").forEach((part) => {
    if (!part.closest("#gallery .cards")) { part.hidden = Number(part.dataset.head) !== head; }
  });
  if (state.beside === head) { state.beside = null; field("beside").value = ""; }
  pair();
  offer();
  arrange();
}

function pair() { gallery.classList.toggle("pair", state.beside !== null); }

function go(row, focus) {
  const before = state.current, at = shown.indexOf(row), page = at < 0 ? state.page : Math.floor(at / PAGE);
  state.current = row;
  if (before && cards.has(before.number)) { cards.get(before.number).removeAttribute("aria-current"); }
  if (page !== state.page) { state.page = page; draw(true); }
  cardOf(row);
  if (Full.open) { present(); } else if (focus) { cards.get(row.number).querySelector(".view").focus(); }
}

function step(by) {
  if (!shown.length) { return; }
  const at = shown.indexOf(state.current);
  const next = at < 0 ? state.page * PAGE : Math.min(shown.length - 1, Math.max(0, at + by));
  go(shown[next], true);
}

// The marks that this browser keeps now: another window with this report may have added some.
function kept() { return Marks.read(store.read(KEY), digests); }

// Keep the log that `edit` makes of the marks so far.
function keep(edit) {
  const { log, others } = stores ? kept() : { log: state.log, others: [] };
  state.log = edit(log);
  stores = store.write(KEY, JSON.stringify([...others, ...state.log]));
  warn(stores ? "" : "This browser keeps no marks for this file: download labels.csv before you close the page.");
  showMarks();
}

function showMarks() {
  state.marks = Marks.latest(state.log);
  offer();
  data.heads.forEach((_, head) => count(head));
  draw(true);
}

async function mark(row, label, onwards) {
  if (!row) { return; }
  const at = shown.indexOf(row), next = shown[at + 1];
  const kind = label === "good" ? "" : await Ask.kind(kinds());
  const made = Marks.of(row.path, row.digest, label, kind, field("by").value, new Date());
  // a mark may take the image out of those shown
  const left = onwards && next ? next : row;
  keep((log) => [...log, made]);
  if (shown.length) { go(shown.includes(left) ? left : shown[Math.min(Math.max(0, at), shown.length - 1)], onwards); }
}

function kinds() { return [...new Set([...Marks.kinds(state.log), ...rows.map((row) => row.defect).filter(Boolean)])].slice(0, 20); }

const commands = {
  next: () => step(1),
  previous: () => step(-1),
  good: () => mark(state.current, "good", true),
  defective: () => mark(state.current, "defective", true),
  undo: () => {
    let last = null;
    if (!state.log.length) { return; }
    keep((log) => { last = log.at(-1); return log.slice(0, -1); });
    const row = last && shown.find((one) => one.path === last.path);
    if (row) { go(row, true); }
  },
  heat: () => {
    if (Full.open) { state.heat = !state.heat; Full.heat(state.heat); } else if (state.current) { cardOf(state.current).classList.toggle("kept"); }
  },
  why: () => {
    const asked = state.current && state.current.number in data.why;
    if (!asked) { return; }
    state.why = Full.open ? !state.why : true;
    present();
  },
  zoom: () => { if (Full.open) { state.zoom = !state.zoom; Full.zoom(state.zoom); } },
  search: () => { if (!Full.open) { search.focus(); search.select(); } },
  help: () => document.getElementById("help").showModal(),
  close: leave,
  labels: () => Csv.download("labels.csv", Marks.csv(state.log)),
  rows: () => Csv.download("images.csv", Rows.csv(shown, data.heads, state.moved, state.marks)),
  back: () => { state.page -= 1; draw(true); document.getElementById("images").scrollIntoView(); },
  on: () => { state.page += 1; draw(true); document.getElementById("images").scrollIntoView(); },
};

function start() {
  document.querySelectorAll("[data-script]").forEach((part) => { part.hidden = part.classList.contains("lost"); });
  document.querySelectorAll("[data-plain]").forEach((part) => part.remove());
  const found = kept();
  state.log = found.log;
  state.marks = Marks.latest(state.log);
  if (found.changed) { warn(found.changed + (found.changed > 1 ? " marked images have" : " marked image has") + " changed since; no longer marked."); }
  field("by").value = store.read(BY);

  Sliders.start(data, (head, moved) => { state.moved[head] = moved; count(head); offer(); draw(true); });
  search.addEventListener("input", () => { state.wanted.text = search.value; draw(false); });
  field("by").addEventListener("change", () => store.write(BY, field("by").value));
  field("kind").addEventListener("change", () => { state.wanted.kind = field("kind").value; draw(false); });
  field("marks").addEventListener("change", () => { state.wanted.marks = field("marks").value; draw(false); });
  field("order").addEventListener("change", () => { state.order = Number(field("order").value); arrange(); });
  if (field("beside")) {
    field("beside").addEventListener("change", () => {
      const value = field("beside").value;
      state.beside = value === "" || Number(value) === state.head ? null : Number(value);
      pair();
      draw(true);
    });
  }
  // a browser may restore choices on reload
  const choice = (name, act) => gallery.querySelectorAll("input[name=" + name + "]").forEach((input) => {
    input.addEventListener("change", () => act(input.value));
    if (input.checked) { act(input.value); }
  });
  choice("show", (value) => { gallery.classList.remove("heated", "beside"); if (value) { gallery.classList.add(value); } });
  choice("verdict", (value) => { state.wanted.verdict = value; draw(false); });
  choice("head", (value) => choose(Number(value)));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button"), card = event.target.closest("#gallery .card");
    const row = card && rows[Number(card.dataset.number)];
    if (!button) { return; }
    if (button.dataset.do) { commands[button.dataset.do](); }
    if (button.dataset.mark) { state.current = row; mark(row, button.dataset.mark, false); }
    if (row && button.classList.contains("view")) { go(row, false); present(); }
    if (row && button.classList.contains("asks")) { state.why = true; go(row, false); present(); }
  });
  list.addEventListener("focusin", (event) => {
    const card = event.target.closest(".card");
    if (card && rows[Number(card.dataset.number)] !== state.current) { go(rows[Number(card.dataset.number)], false); }
  });
  Full.dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
  window.addEventListener("storage", (event) => { if (event.key === KEY) { state.log = kept().log; showMarks(); } });
  Keys.start(commands);
  data.heads.forEach((_, head) => count(head));
  choose(state.head);
}
start();
