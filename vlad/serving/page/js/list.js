// Which images are listed, in which order, and which one is the current one.
const value = (name) => document.querySelector("input[name=" + name + "]:checked").value;
const visible = () => images.filter((one) => !one.card.hidden);

const LISTED = {
  "": () => true,
  anomalous: (one) => word(one) === "anomalous",
  normal: (one) => word(one) === "normal",
  unsure: (one) => word(one) === "unsure",
  unmarked: (one) => !one.mark,
};

function arrange() {
  measure();
  const rank = (one) => one.reply ? -one.reply.image_score : Infinity;
  if ($("order").value === "worst") { images.sort((a, b) => rank(a) - rank(b)); }
  else { images.sort((a, b) => b.file.lastModified - a.file.lastModified); }
  const focused = document.activeElement;
  $("cards").append(...images.map((one) => one.card));
  if (document.activeElement !== focused) { focused.focus({ preventScroll: true }); }  // a moved element loses it
}

function filter() {
  const wanted = LISTED[value("verdict")], place = images.indexOf(current);
  const name = $("search").value.trim().toLowerCase();
  images.forEach((one) => { one.card.hidden = !wanted(one) || !one.name.toLowerCase().includes(name); });
  document.querySelectorAll("input[name=verdict]").forEach((input) => {
    const count = images.filter(LISTED[input.value]).length;
    input.nextElementSibling.lastElementChild.textContent = images.length ? count : "";
    input.parentElement.hidden = input.value === "unsure" && !count && !input.checked;
  });
  $("none").hidden = images.length === 0 || visible().length > 0;
  if (current && current.card.hidden) {  // the next one takes its place
    const focused = document.activeElement === document.body || current.card.contains(document.activeElement);
    const next = images.slice(place).find((one) => !one.card.hidden) || visible().at(-1);
    select(next || null);
    if (next && focused) { attend(); }
  }
}

function select(one) {
  if (one === current) { return; }
  if (current) { current.card.classList.remove("now"); }
  current = one;
  if (one) { one.card.classList.add("now"); }
  if ($("full").open) { if (one) { one.card.scrollIntoView({ block: "nearest" }); showLarge(); } else { $("full").close(); } }
}

// the focus follows the current image, unless it is at full size
function attend() {
  if (current && !$("full").open) { current.view.focus(); }
}

function step(by) {
  const list = visible(), place = list.indexOf(current);
  if (!list.length) { return; }
  select(list[Math.min(list.length - 1, Math.max(0, place < 0 ? 0 : place + by))]);
  attend();
}

function toggleHeat() {
  const other = document.querySelector("input[name=show]:not(:checked)");
  other.checked = true; other.dispatchEvent(new Event("change"));
}
