// What every part of the page uses: elements, numbers, what is remembered, and what all parts know.
const $ = (id) => document.getElementById(id);
let images = [];  // in the order of their cards
let current = null;  // the image that keys act on

const make = (tag, name, text) => {
  const found = document.createElement(tag);
  if (name) { found.className = name; }
  if (text !== undefined) { found.textContent = text; }
  return found;
};
const draw = (tag, attributes) => {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => found.setAttribute(name, value));
  return found;
};
const say = (text, bad) => { $("status").textContent = text; $("status").classList.toggle("bad", Boolean(bad)); };
const shown = (value) => Number(value.toPrecision(4)).toString();
const counted = (number, noun) => number + " " + noun + (number === 1 ? "" : "s");
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const pressed = (button, state) => button.setAttribute("aria-pressed", String(state));

// a browser may refuse storage, and then nothing is remembered
const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const remember = (name, value) => {
  try { if (value === null) { localStorage.removeItem(name); } else { localStorage.setItem(name, value); } return true; }
  catch { return false; }
};
