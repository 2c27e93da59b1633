"use strict";
// Wipe between two images, drawn from the indexed PNGs that the page carries.

const data = JSON.parse(document.getElementById("data").textContent);
const stage = document.getElementById("stage");

const STRETCHES = {
  asinh: (low, high) => {
    const width = (high - low) / 30, from = Math.asinh(low / width), span = Math.asinh(high / width) - from;
    return [v => (Math.asinh(v / width) - from) / span, t => width * Math.sinh(from + t * span)];
  },
  linear: (low, high) => [v => (v - low) / (high - low), t => low + t * (high - low)],
  log: (low, high) => {
    const floor = Math.max(low, high / 1000), span = Math.log(high / floor);
    return [v => Math.log(Math.max(v, floor) / floor) / span, t => floor * Math.exp(t * span)];
  },
};
const GREYS = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
const COLOURS = { inferno: unhex(data.maps.flux), grey: GREYS, "inverted grey": GREYS.map(v => 255 - v) };
const SIGMA = unhex(data.maps.sigma);
const MASKED = [158, 158, 158];

const shown = { stretch: "asinh", colours: "inferno", plane: 0, at: 50 };

function unhex(text) {
  return Uint8Array.from(text.match(/../g), pair => parseInt(pair, 16));
}

// The index of each pixel, read from the PNG itself: 8 bits, rows without filter.
async function decode(plane) {
  const bytes = Uint8Array.from(atob(plane.png), c => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const width = view.getUint32(16), height = view.getUint32(20), parts = [];
  for (let at = 8; at < bytes.length; at += view.getUint32(at) + 12) {
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const inflated = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(inflated).arrayBuffer());
  return { width, height, at: (x, y) => rows[y * (width + 1) + 1 + x] };
}

function pixels(plane) {
  return plane.pixels ??= decode(plane);
}

function planeOf(layer) {
  return layer.planes[Math.min(shown.plane, layer.planes.length - 1)];
}

function scale(layer) {
  const { low, high } = planeOf(layer);
  return layer.kind === "sigma"
    ? [...STRETCHES.linear(low, high), SIGMA]
    : [...STRETCHES[shown.stretch](low, high), COLOURS[shown.colours]];
}

async function draw(canvas, layer) {
  const plane = planeOf(layer), [toShade, , map] = scale(layer);
  const image = await pixels(plane);
  if (plane !== planeOf(layer)) return;
  const shades = plane.levels.map(v => 3 * Math.round(255 * Math.min(1, Math.max(0, toShade(v)))));
  const drawn = new ImageData(image.width, image.height);
  for (let y = 0, i = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++, i += 4) {
      const index = image.at(x, y), at = shades[index];
      for (let c = 0; c < 3; c++) drawn.data[i + c] = index === 255 ? MASKED[c] : map[at + c];
      drawn.data[i + 3] = 255;
    }
  }
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.classList.toggle("crisp", canvas.clientWidth > image.width);
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}

function short(value, digits = 3) {
  return Number(value.toPrecision(digits)).toString().replace("-", "−");
}

function drawBar(bar, layer) {
  const [, toValue, map] = scale(layer), [canvas, ...marks] = bar.children;
  canvas.width = 256;
  canvas.height = 1;
  const drawn = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) drawn.data.set([map[3 * i], map[3 * i + 1], map[3 * i + 2], 255], 4 * i);
  canvas.getContext("2d").putImageData(drawn, 0, 0);
  const { high, most } = planeOf(layer), beyond = most > high ? "≥ " : "";
  marks.forEach((mark, i) => {
    mark.textContent = (i === 2 ? beyond : "") + short(toValue(i / 2), 2) + (i === 2 ? ` ${layer.unit}` : "");
  });
}

function make(kind, properties = {}, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

function choice(title, options, chosen, act) {
  const select = make("select", {}, ...options.map((text, i) => make("option", { value: i, textContent: text })));
  select.value = chosen;
  select.addEventListener("change", () => act(Number(select.value)));
  return make("label", {}, title, select);
}

// World coordinates, interpolated between directions on a coarse raster.
function world(fx, fy) {
  const table = data.world;
  if (!table) return "";
  if (table.ellipse) return onEllipse(table, 2 * fx - 1, 1 - 2 * fy);
  const n = table.places - 1, x = fx * n, y = fy * n;
  const i = Math.min(n - 1, Math.floor(x)), j = Math.min(n - 1, Math.floor(y));
  const sum = [0, 0, 0];
  for (const [di, dj] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
    const vector = table.vectors[(j + dj) * table.places + i + di];
    if (!vector) return "";
    const weight = Math.abs(1 - di - (x - i)) * Math.abs(1 - dj - (y - j));
    vector.forEach((v, k) => { sum[k] += weight * v; });
  }
  const lon = (Math.atan2(sum[1], sum[0]) * 180 / Math.PI + 360) % 360;
  const lat = Math.atan2(sum[2], Math.hypot(sum[0], sum[1])) * 180 / Math.PI;
  if (!table.sexagesimal) return inDegrees(table, lon, lat);
  const sign = lat < 0 ? "−" : "+";
  return `RA ${parts(lon / 15, "hms", table.digits + 1)} Dec ${sign}${parts(Math.abs(lat), "°′″", table.digits)}`;
}

function inDegrees(table, lon, lat) {
  const sign = lat < 0 ? "−" : "+";
  return `${table.names[0]} ${lon.toFixed(table.digits)}° ${table.names[1]} ${sign}${Math.abs(lat).toFixed(table.digits)}°`;
}

// Mollweide's projection, longitude increasing to the left; x and y from -1 to 1.
function onEllipse(table, x, y) {
  if (x * x + y * y >= 1) return "";
  const angle = Math.asin(y), lon = -180 * x / Math.cos(angle);
  const lat = Math.asin((2 * angle + Math.sin(2 * angle)) / Math.PI) * 180 / Math.PI;
  return inDegrees(table, (lon + 360) % 360, lat);
}

function parts(value, marks, digits) {
  const unit = 10 ** digits, all = Math.round(value * 3600 * unit), seconds = all % (60 * unit);
  const minutes = Math.floor(all / (60 * unit));
  const two = n => String(n).padStart(2, "0");
  const rest = (seconds / unit).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return `${two(Math.floor(minutes / 60))}${marks[0]}${two(minutes % 60)}${marks[1]}${rest}${marks[2]}`;
}

async function valueAt(layer, fx, fy) {
  const plane = planeOf(layer), image = await pixels(plane);
  const index = image.at(Math.floor(fx * image.width), Math.floor(fy * image.height));
  const value = index === 255 ? "masked" : (plane.exact ? "" : "≈ ") + short(plane.levels[index]) + ` ${layer.unit}`;
  return `${layer.title} ${value}`;
}

async function build() {
  const sides = [data.layers[stage.dataset.before], data.layers[stage.dataset.after]];
  const first = await pixels(planeOf(sides[0]));
  const aspect = first.width / first.height;
  const canvases = [make("canvas"), make("canvas")];
  const tags = [make("b", { className: "left" }), make("b", { className: "right" })];
  const slider = make("input", { type: "range", min: 0, max: 100, value: shown.at, ariaLabel: "wipe between the two images" });
  const grid = document.getElementById("grid").content.cloneNode(true);
  const sky = grid.childElementCount > 0;
  const wipe = make("div", { className: sky ? "wipe sky" : "wipe" }, ...canvases, grid, ...tags, make("i"), slider);
  const readout = make("p", { className: "readout" });
  const bars = [0, 1].map(() => make("div", { className: "bar" }, make("canvas"), make("span"), make("span"), make("span")));
  const under = make("div", { className: "bars" }, ...bars);
  const hint = "Drag, or use the arrow keys; Home and End show one image whole.";

  const refresh = () => sides.forEach((layer, i) => {
    draw(canvases[i], layer);
    drawBar(bars[i], layer);
    tags[i].textContent = layer.title;
    canvases[i].setAttribute("aria-label", layer.title);
  });
  const move = at => {
    shown.at = Math.min(100, Math.max(0, at));
    slider.value = shown.at;
    wipe.style.setProperty("--at", `${shown.at}%`);
    tags[0].hidden = shown.at < 12;
    tags[1].hidden = shown.at > 88;
  };
  const place = event => {
    const box = wipe.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  const titles = data.layers.map(layer => layer.title);
  const pick = i => chosen => { sides[i] = data.layers[chosen]; refresh(); };
  const set = (key, names) => chosen => { shown[key] = names ? names[chosen] : chosen; refresh(); };
  const stretches = Object.keys(STRETCHES), maps = Object.keys(COLOURS);
  const tools = make("div", { className: "tools" },
    choice("Left", titles, stage.dataset.before, pick(0)),
    choice("Right", titles, stage.dataset.after, pick(1)),
    ...(data.planes.length ? [choice("Energy", data.planes, 0, set("plane"))] : []),
    choice("Stretch", stretches, 0, set("stretch", stretches)),
    choice("Colours", maps, 0, set("colours", maps)));

  slider.addEventListener("input", () => move(Number(slider.value)));
  wipe.addEventListener("pointerdown", event => {
    wipe.setPointerCapture(event.pointerId);
    slider.focus({ preventScroll: true });
    move(100 * place(event)[0]);
    event.preventDefault();
  });
  wipe.addEventListener("pointermove", async event => {
    const [fx, fy] = place(event);
    if (event.buttons) move(100 * fx);
    if (fx < 0 || fx >= 1 || fy < 0 || fy >= 1) return;
    const direction = world(fx, fy);
    if (sky && !direction) return;
    const values = await Promise.all([...new Set(sides)].map(layer => valueAt(layer, fx, fy)));
    readout.textContent = [direction, ...values].filter(Boolean).join(" · ");
  });
  wipe.addEventListener("pointerleave", () => { readout.textContent = hint; });

  for (const element of [wipe, under]) element.style.maxWidth = `calc(78vh * ${aspect})`;
  wipe.style.aspectRatio = aspect;
  stage.append(tools, wipe, readout, under);
  stage.hidden = false;
  document.body.classList.add("live");
  readout.textContent = hint;
  move(shown.at);
  refresh();
}

if (stage && "DecompressionStream" in window) build();

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  });
}
