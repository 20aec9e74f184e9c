// The images of the report; pure functions. A row is one image, `head` the place of a head, and
// `moved` the threshold that the slider was moved to, or null for the verdicts of the run.
const Rows = {
  read: (data) => data.names.map((name, i) => ({
    number: i, name, path: data.folder + name, digest: data.digests[i],
    id: data.ids[i] || name.replace(/\.[^./]*$/, ""),
    label: data.labels[i], defect: data.defects[i] || "",
    scores: data.scores.map((column) => column[i]),
    ranks: data.ranks.map((column) => column[i]),
    codes: data.verdicts.map((column) => column[i]),
    text: [name, data.defects[i], data.kinds[i]].filter(Boolean).join(" ").toLowerCase(),
  })),

  // "anomalous", "normal" or "", unsure or not.
  decided: (row, head, moved) => {
    if (moved !== null) { return Threshold.verdict(row.scores[head], moved); }
    return { a: "anomalous", n: "normal" }[row.codes[head].toLowerCase()] || "";
  },

  // The same, or "unsure".
  verdict: (row, head, moved) =>
    moved === null && "AN".includes(row.codes[head]) ? "unsure" : Rows.decided(row, head, moved),

  // The kind of defect: that of the mark, or that which the image came with.
  kind: (row, mark) => (mark ? mark.kind : row.defect),

  // The rows that fit all of {text, verdict, kind, marks}; "" of any is no condition.
  filter: (rows, wanted, head, moved, marks) => {
    const text = wanted.text.trim().toLowerCase();
    return rows.filter((row) => {
      const mark = marks.get(row.path);
      if (text && !row.text.includes(text) && !(mark && mark.kind.toLowerCase().includes(text))) { return false; }
      if (wanted.kind && Rows.kind(row, mark) !== wanted.kind) { return false; }
      if (wanted.marks && (wanted.marks === "marked") !== Boolean(mark)) { return false; }
      if (wanted.verdict === "wrong") {
        return Threshold.mistake(Rows.decided(row, head, moved), Marks.label(mark, row.label)) !== "";
      }
      return !wanted.verdict || Rows.verdict(row, head, moved) === wanted.verdict;
    });
  },

  // All rows by order: 0 is worst first, 1 by name, others are of the data.
  order: (rows, order, head, orders) => {
    const places = order > 1 ? new Map(orders[order - 2][1].map((number, i) => [number, i])) : null;
    const place = (row) => (places && places.has(row.number) ? places.get(row.number) : Infinity);
    const names = new Intl.Collator("en", { numeric: true });
    return rows.slice().sort((a, b) => {
      if (order === 1) { return names.compare(a.name, b.name) || a.number - b.number; }
      const first = places ? place(a) : 0, second = places ? place(b) : 0;
      return first === second ? a.ranks[head] - b.ranks[head] : first - second;
    });
  },

  // The rows as CSV; `heads` from the data, `moved` for each of them.
  csv: (rows, heads, moved, marks) => {
    const header = ["path", ...heads.flatMap((head) => [head.name, head.name + "_verdict", head.name + "_threshold"]), "label", "kind", "marked"];
    const label = (value) => (value === null ? "" : value ? "defective" : "good");
    return [header, ...rows.map((row) => {
      const mark = marks.get(row.path);
      const cells = heads.flatMap((head, i) => [row.scores[i], Rows.verdict(row, i, moved[i]), moved[i] ?? head.threshold]);
      return [Csv.path(row.path), ...cells, label(Marks.label(mark, row.label)), Csv.text(Rows.kind(row, mark)), mark ? mark.time : ""];
    })].map(Csv.line).join("");
  },
};
