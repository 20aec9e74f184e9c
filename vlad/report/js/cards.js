// Cards: those that the page holds, and new ones for images without a thumbnail in it.
const VERDICTS = { anomalous: "Anomalous", normal: "Normal", unsure: "Unsure" };
const MISTAKES = { missed: "missed", alarm: "false alarm" };

const make = (tag, name, text) => {
  const found = document.createElement(tag);
  if (name) { found.className = name; }
  if (text !== undefined) { found.textContent = text; }
  return found;
};
const encoded = (path) => path.split("/").map(encodeURIComponent).join("/");

// Files beside the report; null where there are none.
const Files = {
  image: (data, row) =>
    data.link === null ? null : encoded(data.link + row.name.replaceAll(data.separator, "/")),
  heat: (data, row, head) =>
    data.maps ? encoded("overlays/" + data.heads[head].drawn + "/" + row.id.replaceAll(data.separator, "/") + ".jpg") : null,
};

const Cards = {
  // A card like those of the template, whose images load when they come near.
  make: (data, row) => {
    const card = make("li", "card"), view = make("button", "view"), body = make("div", "body"), line = make("div", "line");
    const later = (source, name, alt) => {
      const image = make("img", name);
      image.loading = "lazy";
      image.alt = alt;
      image.addEventListener("error", () => image.remove());
      image.src = source;
      return image;
    };
    card.dataset.number = row.number;
    view.type = "button";
    view.setAttribute("aria-label", "Full size: " + row.name);
    const photo = Files.image(data, row);
    if (photo) { view.append(later(photo, "", row.name)); }
    data.heads.forEach((head, i) => {
      const own = (part) => { part.dataset.head = i; return part; };
      if (data.maps) { view.append(own(later(Files.heat(data, row, i), "heat", "Heat map of " + row.name + " by " + head.name))); }
      view.append(own(make("span", "rank", "#" + row.ranks[i])));
      line.append(own(make("span", "score", Cards.score(data, row, i))));
    });
    if (row.label !== null) {
      const badge = make("span", "badge", row.defect || (row.label ? "defective" : "normal"));
      badge.prepend(make("span", "mark " + (row.label ? "defect" : "normal")));
      line.append(badge);
    }
    const name = make("p", "name", row.name);
    name.title = row.path;
    const outlined = document.querySelector("#full .interest");
    if (outlined) { view.append(outlined.cloneNode(true)); }
    body.append(line, name);
    card.append(view, body);
    return card;
  },

  score: (data, row, head) =>
    row.scores[head] === null ? "–" : row.scores[head].toFixed(data.heads[head].digits),

  // What a verdict is shown as: its words, and the mistake that it is.
  verdict: (row, head, moved, mark) => {
    const verdict = Rows.verdict(row, head, moved);
    const mistake = Threshold.mistake(Rows.decided(row, head, moved), Marks.label(mark, row.label));
    return { verdict, notes: [moved === null ? "" : "by the slider", MISTAKES[mistake]].filter(Boolean).join(" · ") };
  },

  // The verdict under one head as a line.
  line: (row, head, moved, mark, name) => {
    const { verdict, notes } = Cards.verdict(row, head, moved, mark), found = make("p", "verdict live");
    if (verdict) { found.append(name ? name + " " : "", make("b", verdict, VERDICTS[verdict]), " " + notes); }
    return found;
  },

  // Buttons for marks, and for reasons if there are some; once for each card.
  dress: (card, explained) => {
    const marking = make("div", "marking");
    for (const [label, word] of [["good", "Good"], ["defective", "Defective"]]) {
      const button = make("button", "", word);
      button.type = "button";
      button.dataset.mark = label;
      marking.append(button);
    }
    marking.append(make("i"));
    if (explained) {
      const button = make("button", "asks", "Why?");
      button.type = "button";
      marking.append(button);
    }
    card.querySelector(".body").append(marking);
  },

  // Bring a card up to date. `state` is that of report.js.
  refresh: (card, row, data, state) => {
    const mark = state.marks.get(row.path), two = state.beside !== null;
    card.querySelectorAll("[data-head]").forEach((part) => {
      const head = Number(part.dataset.head), second = two && head === state.beside && part.closest(".view") !== null;
      part.toggleAttribute("hidden", head !== state.head && !second); // outlines have no property of it
      part.classList.toggle("second", second);
      if (part.classList.contains("rank")) { part.textContent = (two ? data.heads[head].name + " " : "") + "#" + row.ranks[head]; }
    });
    card.querySelectorAll("[data-now]").forEach((part) => {
      part.classList.toggle("now", [state.head, state.beside].includes(Number(part.dataset.now)));
    });
    card.querySelectorAll(".live").forEach((part) => part.remove());
    // the line of the run stands with its p-value until the slider or a mark says otherwise
    const own = card.querySelector("p.verdict[data-head='" + state.head + "'] > b");
    const stands = own && !two && !mark && state.moved[state.head] === null;
    card.querySelectorAll("p.verdict[data-head] > b").forEach((part) => { part.parentNode.hidden = !stands || part !== own; });
    if (!stands) {
      const lines = two ? [state.head, state.beside] : [state.head];
      card.querySelector(".line").after(...lines.map((head) =>
        Cards.line(row, head, state.moved[head], mark, two ? data.heads[head].name : "")));
    }
    Cards.marking(card.querySelector(".marking"), mark);
  },

  // Show a mark in its buttons.
  marking: (part, mark) => {
    part.querySelectorAll("button:not(.asks)").forEach((button) => {
      const label = button.dataset.mark || button.dataset.do;
      button.setAttribute("aria-pressed", String(Boolean(mark) && mark.label === label));
    });
    part.querySelector("i").textContent = mark ? mark.kind : "";
  },
};
