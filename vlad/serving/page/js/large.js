// One image at full size, with its heat map, regions and region of interest.
const LARGEST = 2048;
let whole = true, drawn = null;  // fitted to the window or pixel by pixel; what is drawn

function enlarge() {
  if (!current) { return; }
  document.activeElement.blur();  // else closing would give the focus back to what had it
  $("full").showModal(); $("stage").focus(); drawn = null; showLarge();
}

function showLarge() {
  const one = current;
  if (!one || !$("full").open) { return; }
  const reply = one.reply, sheet = $("sheet");
  $("large-name").textContent = one.name;
  const facts = reply ? [shown(reply.image_score), word(one)] : [one.error || "…"];
  const list = visible();
  $("large-facts").textContent = [...facts, one.note.textContent].filter((text, i, all) => text && all.indexOf(text) === i).join(" · ");
  $("large-place").textContent = list.indexOf(one) + 1 + " of " + list.length;
  $("large-says").textContent = one.says.textContent;
  pressed($("large-good"), one.mark !== null && one.mark.label === "good");
  pressed($("large-bad"), one.mark !== null && one.mark.label === "defective");
  pressed($("large-heat"), value("show") === "heat"); pressed($("large-zoom"), !whole);
  $("large-previous").disabled = one === list[0]; $("large-next").disabled = one === list.at(-1);
  const now = [one, one.map, low, high];
  if (!drawn || now.some((part, i) => part !== drawn[i])) {
    drawn = now;
    const heat = make("canvas", "heat"); heat.width = heat.height = 1;
    const image = one.image.cloneNode(true);
    image.addEventListener("load", fitLarge);
    if (one.map) { colour(one, heat, Math.min(LARGEST, Math.max(reply.width, reply.height))); }
    sheet.replaceChildren(one.image.isConnected ? image : make("span", "hint", "This browser cannot show this image."), heat, one.regions.cloneNode(true));
  }
  sheet.classList.toggle("plain", value("show") === "plain");
  $("full").classList.toggle("actual", !whole);
  showWhy(one);
  fitLarge();
}

function fitLarge() {
  const stage = $("stage"), image = $("sheet").querySelector("img"), reply = current && current.reply;
  const width = reply ? reply.width : image ? image.naturalWidth : 0, height = reply ? reply.height : image ? image.naturalHeight : 0;
  const room = whole && width ? Math.min(stage.clientWidth / width, stage.clientHeight / height) : 1 / devicePixelRatio;
  $("sheet").style.width = Math.floor(width * room) + "px"; $("sheet").style.height = Math.floor(height * room) + "px";
}

function zoom() { if (!$("full").open) { return; } whole = !whole; showLarge(); }
