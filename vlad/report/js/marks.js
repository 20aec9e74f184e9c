// What people said of images: a log of marks {path, label, kind, digest, by, time}, oldest first.
// Pure functions: no log is changed. Needs csv.js.
const Marks = {
  COLUMNS: ["path", "label", "kind", "digest", "by", "time"],

  // A mark of an image; `label` is "good" or "defective", `kind` a kind of defect or "".
  of: (path, digest, label, kind, by, now) => ({
    path, label, kind: label === "defective" ? kind.trim() : "", digest, by: by.trim(),
    time: now.toISOString().slice(0, 19) + "+00:00",
  }),

  // path -> the last mark of each image.
  latest: (log) => new Map(log.map((mark) => [mark.path, mark])),

  // The kinds of defects given so far, the last one first.
  kinds: (log) => [...new Set(log.map((mark) => mark.kind).filter(Boolean).reverse())],

  // 0 for good and 1 for defective: the last mark of an image, else the label that it came with.
  label: (mark, own) => (mark ? Number(mark.label === "defective") : own),

  // labels.csv: the last mark of each image by each person.
  csv: (log) => {
    const last = new Map();
    for (const mark of log) {
      const key = JSON.stringify([mark.path, mark.by]);
      last.delete(key);
      last.set(key, mark);
    }
    const rows = [...last.values()].map((mark) => [
      Csv.path(mark.path), mark.label, Csv.text(mark.kind), mark.digest, Csv.text(mark.by), mark.time,
    ]);
    return [Marks.COLUMNS, ...rows].map(Csv.line).join("");
  },

  // A log that was stored as JSON: {log, others, changed}. `digests` is path -> digest of the images
  // of this report as they are now. `others` are marks of other images, and `changed` is the number
  // of images whose marks are left out, since they changed.
  read: (stored, digests) => {
    let found = [];
    try { found = JSON.parse(stored); } catch { /* damaged: as if nothing was stored */ }
    const whole = (mark) => mark && Marks.COLUMNS.every((name) => typeof mark[name] === "string");
    const all = (Array.isArray(found) ? found : []).filter(whole), here = all.filter((mark) => digests.has(mark.path));
    const log = here.filter((mark) => mark.digest === digests.get(mark.path));
    return {
      log, others: all.filter((mark) => !digests.has(mark.path)),
      changed: new Set(here.filter((mark) => !log.includes(mark)).map((mark) => mark.path)).size,
    };
  },
};
