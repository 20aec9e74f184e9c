// Why the current image is anomalous, asked of the service once somebody wants to know.
let wondering = false, picked = null, told = null;  // whether that shows; the region; what is drawn

async function askWhy(one) {
  const form = new FormData(), asked = one.why = {};
  let found;
  form.append("images", one.file); form.append("detector", chosen().name);
  if (one.category) { form.append("category", one.category); }
  try { [found] = (await ask("v1/explain", { method: "POST", body: form })).images; }
  catch (error) { found = { error: error.message }; }
  if (one.why !== asked) { return; }  // another detector was chosen since
  one.why = found;
  if (one === current) { showLarge(); }
}

function crop(data) {
  const image = make("img"), bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  image.alt = ""; image.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  return image;
}

function pick(i) { picked = i; wondering = true; showLarge(); }

// Show why, and number the regions on the image.
function showWhy(one) {
  const panel = $("why"), on = wondering && Boolean(one.reply), sheet = $("sheet");
  panel.hidden = !on; $("large").classList.toggle("explained", on);
  pressed($("large-why"), on); $("large-why").disabled = !one.reply;
  if (on && !one.why) { askWhy(one); }
  const why = one.why;
  if (why !== told) {
    told = why; picked = null;
    panel.replaceChildren(...(why && why.regions ? Why.list(why, crop, pick) : [make("p", "said", why && why.error ? why.error : "…")]));
    panel.scrollTop = 0;
  }
  sheet.querySelectorAll(".boxes").forEach((part) => part.remove());
  if (why && why.regions) {
    sheet.append(Why.boxes(why, pick));
    Why.mark(panel, sheet.querySelector(".boxes"), picked);
  }
}

function wonder() {
  if (!current || !current.reply) { return; }
  wondering = $("full").open ? !wondering : true;
  if ($("full").open) { showLarge(); } else { enlarge(); }
}
