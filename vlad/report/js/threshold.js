// What a threshold does to image scores; pure functions. A score of null is none.
const Threshold = {
  // "anomalous", "normal", or "" where nothing is decided.
  verdict: (score, threshold) =>
    threshold === null || score === null ? "" : score > threshold ? "anomalous" : "normal",

  // "missed" or "alarm" where a verdict is not that of the label (0 good, 1 defective), else "".
  mistake: (verdict, label) => {
    if (!verdict || label === null || (verdict === "anomalous") === (label === 1)) { return ""; }
    return label ? "missed" : "alarm";
  },

  // How many images alarm and pass, and how many good ones alarm and defects are missed.
  counts: (scores, labels, threshold) => {
    const found = { alarm: 0, pass: 0, good: 0, alarms: 0, defects: 0, missed: 0 };
    scores.forEach((score, i) => {
      const verdict = Threshold.verdict(score, threshold), mistake = Threshold.mistake(verdict, labels[i]);
      if (!verdict) { return; }
      found[verdict === "anomalous" ? "alarm" : "pass"] += 1;
      if (labels[i] !== null) { found[labels[i] ? "defects" : "good"] += 1; }
      found.alarms += mistake === "alarm";
      found.missed += mistake === "missed";
    });
    return found;
  },

  // The counts in sentences.
  words: (found) => {
    const of = (count, noun) => count + " " + noun + (count === 1 ? "" : "s");
    let said = found.alarm + " would alarm, " + found.pass + " would pass.";
    const sides = [];
    if (found.good) { sides.push("Of " + of(found.good, "good image") + " " + found.alarms + " would alarm"); }
    if (found.defects) { sides.push((sides.length ? "of " : "Of ") + of(found.defects, "defect") + " " + found.missed + " would be missed"); }
    return sides.length ? said + " " + sides.join("; ") + "." : said;
  },

  // The shortest number that divides the scores as the threshold does.
  shortest: (threshold, scores) => {
    let below = -Infinity, above = Infinity;
    for (const score of scores) {
      if (score === null) { continue; }
      if (score > threshold) { above = Math.min(above, score); } else { below = Math.max(below, score); }
    }
    for (let digits = 3; digits < 17; digits += 1) {
      const number = Number(threshold.toPrecision(digits));
      if (number >= below && number < above) { return String(number); }
    }
    return String(threshold);
  },
};
