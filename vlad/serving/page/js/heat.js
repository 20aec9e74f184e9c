// Heat maps: one scale for all images, so that equal colours mean equal values.
const HEAT = {{heat}};
const SIDE = 480, SAMPLES = 300000;
let low = 0, high = 1;

function measure() {
  // from the median of all values to nearly the highest
  const maps = images.filter((one) => one.map).map((one) => one.map.values), values = [];
  const step = Math.max(7, Math.ceil(maps.reduce((sum, map) => sum + map.length, 0) / SAMPLES));
  maps.forEach((map) => { for (let i = 0; i < map.length; i += step) { values.push(map[i]); } });
  values.sort((a, b) => a - b);
  low = values[Math.floor(0.5 * (values.length - 1))] || 0;
  const limit = Math.max(0, ...images.map((one) => one.limit || 0));
  high = Math.max(values[Math.floor(0.999 * (values.length - 1))] || 0, limit, low + 1e-9);
  scale(limit);
  images.forEach(paint);
}

function scale(limit) {
  const [from, bar, to] = $("scale").children, colours = bar.getContext("2d"), image = new ImageData(256, 1);
  HEAT.forEach((colour, i) => image.data.set(colour, 4 * i));
  colours.clearRect(0, 0, 256, 16);
  for (let y = 0; y < 16; y += 1) { colours.putImageData(image, 0, y); }
  if (limit) { colours.fillRect(Math.min(254, 255 * (limit - low) / (high - low)), 0, 2, 16); }
  from.textContent = "Heat ≤ " + shown(low);
  to.textContent = "≥ " + shown(high) + (limit ? ", regions above " + shown(limit) : "");
  $("scale").hidden = !images.some((one) => one.map);
}

function paint(one) {
  if (one.map) { colour(one, one.heat, SIDE); } else { one.heat.width = one.heat.height = 1; }
}

function colour(one, canvas, side) {
  const { width, height, values } = one.map, heat = new ImageData(width, height);
  values.forEach((value, i) => {
    const level = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
    heat.data.set(HEAT[level], 4 * i);
  });
  const small = make("canvas"); small.width = width; small.height = height;
  small.getContext("2d").putImageData(heat, 0, 0);
  const ratio = side / Math.max(one.reply.width, one.reply.height);
  canvas.width = Math.max(1, Math.round(one.reply.width * ratio));
  canvas.height = Math.max(1, Math.round(one.reply.height * ratio));
  canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
}
