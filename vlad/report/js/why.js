// Why an image is anomalous: its regions as a list, and numbered on the image. `why` is
// {size, note, regions}, and `pick(i)` is called with the place of a region that is chosen.
const Why = {
  // Of an image of the report, under a head: null where none are known.
  of: (data, row, head) => (data.why[row.number] || {})[data.heads[head].drawn] || null,

  percent: (share) => {
    const size = Math.abs(share);
    return (size < 0.001 ? "under 0.1" : size < 0.0995 ? (100 * share).toPrecision(2) : Math.round(100 * share)) + " %";
  },

  // What is said of a region besides its reasons.
  facts: (region) => [
    region.share === null ? "" : Why.percent(region.share) + " of the score",
    Why.percent(region.area) + " of the image",
  ].filter(Boolean).join(" · "),

  // The regions, largest first; `crop(figure)` turns what is kept of a crop into its element.
  list: (why, crop, pick) => {
    const list = make("ol", "reasons");
    list.append(...why.regions.map((region, i) => {
      const item = make("li"), head = make("button", "region"), texts = make("ul");
      head.type = "button";
      head.append(make("b", "", region.place), make("span", "", Why.facts(region)));
      head.addEventListener("click", () => pick(i));
      const without = region.without === null ? [] : ["if it were normal, the image would score " + Number(region.without.toPrecision(4))];
      texts.append(...[...region.texts, ...without].map((text) => make("li", "", text)));
      item.append(head, Why.crops(region, crop), texts);
      return item;
    }));
    return [list, ...(why.note ? [make("p", "said", why.note)] : [])];
  },

  // What a vision-language model says, apart from what the head says; none without `words`.
  words: (words) => {
    if (!words) { return []; }
    const part = make("section", "words");
    part.append(make("h3", "", "Words of " + words.model + "; they change no score"), make("p", "", words.seen));
    if (words.sentence) { part.append(make("p", "", words.sentence)); }
    return [part];
  },

  // The crop of a region beside what it is compared with.
  crops: (region, crop) => {
    const pair = make("div", "crops");
    for (const [found, words] of [[region.crop, "this image"], [region.reference_crop, region.reference]]) {
      if (!found) { continue; }
      const figure = make("figure");
      figure.append(crop(found), make("figcaption", "", words));
      pair.append(figure);
    }
    if (region.reference_note) { pair.append(make("p", "said", region.reference_note)); }
    return pair;
  },

  // The boxes of the regions, as an SVG that lies on the image.
  boxes: (why, pick) => {
    // the name of SVG elements is an address, and a report holds none
    const { namespaceURI } = Object.assign(document.createElement("div"), { innerHTML: "<svg></svg>" }).firstChild;
    const draw = (tag, attributes, text) => {
      const found = document.createElementNS(namespaceURI, tag);
      Object.entries(attributes).forEach(([name, value]) => found.setAttribute(name, value));
      if (text !== undefined) { found.textContent = text; }
      return found;
    };
    const [width, height] = why.size, radius = Math.max(width, height) / 42;
    const all = draw("svg", { class: "boxes", viewBox: "0 0 " + width + " " + height, "aria-hidden": "true" });
    // the smallest one lies on top
    why.regions.map((region, i) => [region, i]).reverse().sort(([a], [b]) => b.area - a.area).forEach(([region, i]) => {
      const [x, y, w, h] = region.box, part = draw("g", { "data-region": i });
      const across = Math.max(x, radius), down = Math.max(y, radius); // whole, at an edge
      part.append(
        draw("rect", { x, y, width: w, height: h }),
        draw("circle", { cx: across, cy: down, r: radius }),
        draw("text", { x: across, y: down, "font-size": 1.3 * radius }, i + 1),
      );
      part.addEventListener("click", (event) => { event.stopPropagation(); pick(i); });
      all.append(part);
    });
    return all;
  },

  // Mark one region, in the list and on the image; null marks none.
  mark: (panel, boxes, picked) => {
    panel.querySelectorAll(".reasons > li").forEach((part, i) => {
      part.classList.toggle("picked", i === picked);
      part.querySelector(".region").setAttribute("aria-pressed", String(i === picked));
      if (i === picked) { part.scrollIntoView({ block: "nearest" }); }
    });
    boxes.querySelectorAll("g").forEach((part) => part.classList.toggle("picked", Number(part.dataset.region) === picked));
  },
};
