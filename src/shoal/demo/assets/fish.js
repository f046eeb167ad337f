// The clients: a fish for each, in the pool of its server's card, or at the door while it has none. Servers name their
// clients' fishes, so one that appears elsewhere has moved there. It knows places and no socket.

import { allPlaces, colourOf, place } from "./places.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, CELL_X, CELL_Y] = [14, 8.75, 17.5, 13.5]; // pixels
const SIZES = [2.4, 2, 1.6, 1.3, 1, 0.8]; // of a fish: the largest that lets all have room
const PATIENCE = 3000; // milliseconds that a stranger's fish waits at the door before it is taken for gone
const SWIM = 900; // milliseconds from one place to another; as in the style sheet

const fishes = new Map(); // name -> {node, own, you, seen, element, x, y}
let sea = null;
let stage = null;
let door = null;
let drawn = () => {};
let pending = false;
let size = 1;

// `group` is where fishes swim; its picture covers `around`; `entrance` is where those wait who have no server; `also`
// is called when all has its place.
export function openSea(group, around, entrance, also) {
  [sea, stage, door, drawn] = [group, around, entrance, also];
  new ResizeObserver(redraw).observe(around);
}

export const fishOf = (name) => fishes.get(name);

export function fishesAt(node) {
  return [...fishes.values()].filter((fish) => fish.node === node);
}

function build(name) {
  const element = document.createElementNS(SVG, "g");
  const body = document.createElementNS(SVG, "use");
  body.setAttribute("href", "#fish");
  for (const [key, value] of Object.entries({ x: -WIDTH / 2, y: -HEIGHT / 2, width: WIDTH, height: HEIGHT })) body.setAttribute(key, value);
  element.dataset.dot = name;
  element.append(body);
  sea.append(element);
  return { name, node: null, own: false, you: false, seen: performance.now(), element, body, x: null, y: null };
}

function put(name, node) {
  const fish = fishes.get(name) ?? build(name);
  fishes.set(name, Object.assign(fish, { node, seen: performance.now() }));
  return fish;
}

// A client of this page is at `node`, or at the door if that is null. Its own connection says so, not a report.
export function putOwn(name, node, you = false) {
  Object.assign(put(name, node), { own: true, you });
  redraw();
}

export function removeOwn(name) {
  drop(name);
  redraw();
}

function drop(name) {
  fishes.get(name)?.element.remove();
  fishes.delete(name);
}

// The servers have reported: put strangers where they are, and those that no server has at the door.
export function reported() {
  const at = new Map();
  for (const [node, { dots }] of allPlaces()) for (const dot of dots) at.set(String(dot), node);
  for (const [name, node] of at) if (!fishes.get(name)?.own) put(name, node);
  for (const [name, fish] of fishes) {
    if (fish.own || at.has(name)) continue;
    if (fish.node) Object.assign(fish, { node: null, seen: performance.now() });
    else if (performance.now() - fish.seen > PATIENCE) drop(name);
  }
  redraw();
}

// Draw once a frame, however much has changed.
export function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    drawAll();
  });
}

const order = (one, other) => other.you - one.you || other.own - one.own || (one.name < other.name ? -1 : 1);

function drawAll() {
  const origin = stage.getBoundingClientRect();
  const shoals = new Map([[null, []], ...[...allPlaces().keys()].map((node) => [node, []])]);
  for (const fish of fishes.values()) (shoals.get(fish.node) ?? shoals.get(null)).push(fish);
  const boxes = new Map([...allPlaces()].map(([node, { pool }]) => [node, pool.getBoundingClientRect()]));
  size = SIZES.find((each) => [...boxes].every(([node, box]) => fits(box, each) >= shoals.get(node).length)) ?? SIZES.at(-1);
  sea.style.setProperty("--size", size);
  for (const [node, shoal] of shoals) {
    shoal.sort(order);
    if (node === null) wait(shoal, origin);
    else fill(place(node), shoal, boxes.get(node), origin);
  }
  drawn(origin);
}

const rowsIn = (box, scale) => Math.max(1, Math.floor(box.height / (CELL_Y * scale)));
const columnsIn = (box, scale) => {
  const shift = rowsIn(box, scale) > 1 ? 0.5 : 0; // of every other row
  return Math.max(1, Math.floor(box.width / (CELL_X * scale) - shift));
};
const fits = (box, scale) => columnsIn(box, scale) * rowsIn(box, scale);

// In the middle of the pool, about as wide for its height as the pool is.
function fill({ more, clients, dots }, shoal, box, origin) {
  const most = fits(box, size);
  const total = shoal.length + Math.max(0, clients - dots.length); // a report names the first of many
  const shown = total <= most && total === shoal.length ? shoal.length : Math.min(shoal.length, Math.max(1, most - 1));
  more.textContent = total > shown ? `+${total - shown}` : "";
  const [cellX, cellY] = [CELL_X * size, CELL_Y * size];
  const ideal = Math.ceil(Math.sqrt((shown * box.width * cellY) / (Math.max(1, box.height) * cellX)));
  const least = Math.ceil(shown / rowsIn(box, size));
  const columns = Math.max(1, Math.min(columnsIn(box, size), Math.max(ideal, least)));
  const rows = Math.max(1, Math.ceil(shown / columns));
  const left = box.left - origin.left + (box.width - cellX * (columns - 1 + (rows > 1 ? 0.5 : 0))) / 2;
  const top = box.top - origin.top + (box.height - cellY * (rows - 1)) / 2;
  shoal.forEach((fish, index) => {
    const slot = Math.max(0, Math.min(index, shown - 1));
    const row = Math.floor(slot / columns);
    move(fish, left + cellX * ((slot % columns) + (row % 2 ? 0.5 : 0)), top + cellY * row, index >= shown);
  });
}

// At the door, to the left and to the right of its sign by turns.
function wait(shoal, origin) {
  const box = door.getBoundingClientRect();
  const y = box.top - origin.top + box.height / 2;
  const most = Math.max(1, Math.floor((box.left - origin.left) / CELL_X));
  shoal.forEach((fish, index) => {
    const step = (Math.min(Math.floor(index / 2), most - 1) + 0.8) * CELL_X;
    move(fish, index % 2 ? box.right - origin.left + step : box.left - origin.left - step, y, index >= 2 * most);
  });
}

function move(fish, x, y, hidden) {
  const { element, node, own, you } = fish;
  if (fish.x === null) comeIn(fish);
  else if (Math.abs(fish.x - x) > CELL_X) turn(fish, fish.x > x);
  element.setAttribute("class", ["dot", own && "own", you && "you", !node && "waiting", hidden && "hidden", fish.left && "left"].filter(Boolean).join(" "));
  element.dataset.node = node ?? "";
  if (node) element.dataset.colour = colourOf(node);
  Object.assign(fish, { x, y });
  element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
}

// Everybody comes in by the door.
function comeIn({ element }) {
  const [inside, box] = [stage.getBoundingClientRect(), door.getBoundingClientRect()];
  element.setAttribute("class", "dot hidden");
  element.style.transform = `translate(${box.left - inside.left + box.width / 2}px, ${box.bottom - inside.top}px)`;
  element.getBoundingClientRect(); // it is there before it swims
}

function turn(fish, left) {
  fish.left = left;
  clearTimeout(fish.turning);
  fish.turning = setTimeout(() => {
    fish.left = false;
    fish.element.classList.remove("left");
  }, SWIM);
}

// Let a fish show that a message has reached it.
export function startle(fish, delay) {
  fish.body.animate([{ scale: 1 }, { scale: 1.4 }, { scale: 1 }], { delay, duration: 450, easing: "ease-out" });
}
