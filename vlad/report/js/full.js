// One image at full size, in a dialog.
const Full = {
  dialog: document.getElementById("full"),
  part: (query) => Full.dialog.querySelector(query),
  get open() { return Full.dialog.open; },

  // Show an image; `card` is its card, `place` words such as "3 of 83".
  show: (row, card, data, state, place) => {
    const photo = Full.part(".photo"), heat = Full.part(".heat"), about = Full.part(".about"), sheet = Full.part(".sheet");
    const small = card.querySelector(".view img:not(.heat)");
    const smallHeat = card.querySelector(".view .heat[data-head='" + state.head + "']");
    Full.part("#full-name").textContent = row.name;
    Full.part(".place").textContent = place;
    Full.part(".score").textContent = Cards.score(data, row, state.head);
    Full.part("footer .verdict").replaceChildren(...Cards.line(row, state.head, state.moved[state.head], state.marks.get(row.path), "").childNodes);
    Cards.marking(Full.part(".marking"), state.marks.get(row.path));
    if (Full.row !== row || Full.head !== state.head) {
      Full.row = row;
      Full.head = state.head;
      Full.said = undefined;
      about.textContent = "";
      sheet.querySelectorAll(".regions").forEach((part) => part.remove());
      const regions = card.querySelector(".regions[data-head='" + state.head + "']");
      if (regions) {
        const drawn = regions.cloneNode(true);
        drawn.toggleAttribute("hidden", false);
        drawn.removeAttribute("data-head");
        sheet.append(drawn);
      }
      photo.alt = row.name;
      Full.load(photo, Files.image(data, row), small, () => {
        about.textContent = small ? "The file is not here, or this browser cannot show it: this is its thumbnail."
          : "The file is not here, or this browser cannot show it.";
      });
      heat.alt = "Heat map of " + row.name + " by " + data.heads[state.head].name;
      Full.load(heat, Files.heat(data, row, state.head), smallHeat, () => {});
    }
    Full.heat(state.heat);
    Full.zoom(state.zoom);
    Full.why(data, row, state);
    if (!Full.open) { Full.dialog.showModal(); Full.part(".stage").focus(); }
  },

  // Show why, or leave it out; a region on the image shows it too.
  why: (data, row, state) => {
    const panel = Full.part(".why");
    if (!panel) { return; }
    const why = Why.of(data, row, state.head), button = Full.part("[data-do=why]"), on = Boolean(why) && state.why;
    if (Full.said !== why) {
      Full.said = why;
      Full.picked = null;
      const pick = (i) => { Full.picked = i; state.why = true; Full.why(data, row, state); };
      const crop = (file) => { const image = make("img"); image.alt = ""; image.src = encoded(file); return image; };
      panel.replaceChildren(...(why ? [...Why.list(why, crop, pick), ...Why.words(data.words[row.number])] : []));
      panel.scrollTop = 0;
      Full.part(".sheet").querySelectorAll(".boxes").forEach((part) => part.remove());
      if (why) { Full.part(".sheet").append(Why.boxes(why, pick)); }
    }
    panel.hidden = !on;
    Full.dialog.classList.toggle("explained", on);
    button.hidden = !why;
    button.setAttribute("aria-pressed", String(on));
    if (why) { Why.mark(panel, Full.part(".boxes"), Full.picked); }
  },

  // Load a file into an image, or else its thumbnail.
  load: (image, source, small, onMissing) => {
    const fallback = () => {
      image.onerror = null;
      onMissing();
      if (small && small.src.startsWith("data:")) { image.src = small.src; } else { image.removeAttribute("src"); }
    };
    image.onerror = fallback;
    if (source) { image.src = source; } else { fallback(); }
  },

  heat: (on) => {
    Full.part(".sheet > .heat").hidden = !on;
    const button = Full.part("[data-do=heat]");
    if (button) { button.setAttribute("aria-pressed", String(on)); }
  },

  // Fit the window, or one pixel of the file to one of the screen.
  zoom: (on) => {
    Full.dialog.classList.toggle("actual", on);
    Full.part("[data-do=zoom]").setAttribute("aria-pressed", String(on));
  },
};
