// The way of a message: from its sender to its server, through the broker to the other servers, to the clients there. The
// times are measured: servers tell when they took or got something, this page's clients when they received it. The
// drawing is slower by a factor that is shown. It knows places and fishes, and no socket.

import { clockError, toPage } from "./clock.js";
import { fishesAt, fishOf, startle } from "./fish.js";
import { allPlaces, isUp, place } from "./places.js";

const SVG = "http://www.w3.org/2000/svg";
const SLOWER = [5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1];
const LASTS = 1800; // milliseconds that a drawing may take
const LABELS = 5000; // milliseconds that times are shown
const COMPLETE_WITHIN = 1500; // milliseconds that servers have to tell when they got a message
const SETTLE = 60; // milliseconds for this page's own clients to have it too
const AT_ONCE = 4; // drawings
const KEPT = 60; // messages
const SHOWN = 80; // characters that a trace repeats of its message
const still = matchMedia("(prefers-reduced-motion: reduce)");

const traces = new Map(); // trace -> {node, at, dot, text, passed: node -> time, due}
const sendings = new Map(); // name of a client and its text -> when this page sent it
const arrivals = new Map(); // node and text -> name of a client -> when it had it
const wires = new Map(); // node -> line
let [groups, hub, reading] = [null, null, null];
let ports = new Map(); // node -> {x, y}: where its wire begins
let middle = { x: 0, y: 0 };
let drawing = 0;
let labelled = 0;

// `layers` has the groups that wires and messages are drawn into, `sign` is the broker's, `line` says the times in words.
export function openWay(layers, sign, line) {
  [groups, hub, reading] = [layers, sign, line];
}

const key = (who, text) => `${who}: ${String(text).slice(0, SHOWN)}`;

function remember(map, name, value) {
  map.set(name, value);
  if (map.size > KEPT) map.delete(map.keys().next().value);
  return value;
}

// A client of this page sends `text`.
export const sending = (dot, text) => remember(sendings, key(dot, text), performance.now());

// A client of this page has received what a client of `node` said.
export function received(dot, node, text) {
  const name = key(node, text);
  (arrivals.get(name) ?? remember(arrivals, name, new Map())).set(dot, performance.now());
}

// A server has taken a message that it traces.
export function traced({ trace, node, at, dot, text }) {
  Object.assign(collect(trace), { node, at, dot, text });
}

// The note behind that message has come to another server.
export function passed({ trace, node, at }) {
  const entry = collect(trace);
  entry.passed.set(node, at);
  const expected = [...allPlaces().keys()].filter(isUp).length - 1;
  if (entry.passed.size >= expected) due(trace, entry, SETTLE);
}

function collect(trace) {
  const found = traces.get(trace);
  if (found) return found;
  const entry = remember(traces, trace, { passed: new Map() });
  due(trace, entry, COMPLETE_WITHIN);
  return entry;
}

function due(trace, entry, delay) {
  clearTimeout(entry.due);
  entry.due = setTimeout(() => {
    traces.delete(trace);
    if (entry.node && place(entry.node)) show(measure(entry));
  }, delay);
}

// All times of one message in milliseconds, 0 being when its server took it.
function measure({ node, at, dot, text, passed: notes }) {
  const taken = toPage(at);
  const sent = sendings.get(key(dot, text));
  const first = taken === null || sent === undefined ? null : Math.max(0, taken - sent);
  const hops = new Map([...notes].map(([other, time]) => [other, Math.max(0, time - at)]));
  const mine = new Map();
  for (const [name, time] of arrivals.get(key(node, text)) ?? []) if (taken !== null) mine.set(name, Math.max(0, time - taken));
  return { node, dot, first, hops, mine, agree: [...notes.values()].every((time) => time >= at - 0.5) };
}

const number = (ms) => (ms < 9.95 ? ms.toFixed(1) : String(Math.round(ms)));

function show(way) {
  if (document.hidden) return;
  const total = (way.first ?? 0) + Math.max(0, ...way.hops.values(), ...way.mine.values());
  const slower = SLOWER.find((factor) => total * factor <= LASTS) ?? 1;
  const moves = !still.matches && drawing < AT_ONCE;
  say(way, moves ? slower : 0);
  label(way, moves ? slower : 0);
  if (moves) draw(way, slower);
}

function say({ node, first, hops, mine, agree }, slower) {
  const times = [...hops.values()].sort((one, other) => one - other).map(number);
  const range = times[0] === times.at(-1) ? times[0] : `${times[0]} to ${times.at(-1)}`;
  const others = hops.size === 1 ? `server ${[...hops.keys()][0]}` : `the other ${hops.size} servers`;
  const parts = [
    first === null ? `Taken by server ${node}` : `To server ${node} in ${number(first)} ms`,
    hops.size ? `from there through the broker to ${others} in ${range} ms` : "no other server to tell",
  ];
  if (mine.size > 1) parts.push(`to all ${mine.size} clients here in ${number(Math.max(...mine.values()))} ms`);
  const doubt = first === null && !mine.size ? "" : ` (± ${number(Math.max(0.1, clockError()))})`;
  const drawn = slower > 1 ? ` Drawn ${slower.toLocaleString("en")}× slower.` : "";
  reading.textContent = `${parts.join("; ")}${doubt}.${drawn}${agree ? "" : " The servers' clocks disagree."}`;
}

function label({ node, first, hops }, slower) {
  const mark = (labelled += 1);
  const shown = [];
  for (const [name, { element, took }] of allPlaces()) {
    const ms = name === node ? first : hops.get(name);
    const isPart = name === node || hops.has(name);
    took.textContent = name === node && ms === null ? "sent" : isPart ? `${name === node ? "" : "+"}${number(ms)} ms` : "";
    element.classList.toggle("lit", isPart);
    const delay = slower * ((first ?? 0) + (name === node ? 0 : (hops.get(name) ?? 0)));
    if (slower) took.animate([{ opacity: 0 }, { opacity: 0 }], { duration: delay });
    shown.push(() => { took.textContent = ""; element.classList.remove("lit"); });
  }
  setTimeout(() => { if (mark === labelled) shown.forEach((clear) => clear()); }, LABELS);
}

// ---- drawing

function draw({ node, dot, first, hops, mine }, slower) {
  const [port, sender] = [ports.get(node), fishOf(dot)];
  if (!port) return;
  const colour = place(node).element.dataset.colour;
  const start = (first ?? 0) * slower;
  const nearest = Math.min(...hops.values());
  const finished = [];
  if (sender) startle(sender, 0);
  if (sender?.x && first !== null) finished.push(travel([sender, port], 0, start, colour, { from: dot, to: node }));
  const far = [...hops].filter(([other]) => ports.has(other));
  if (far.length) {
    const half = (nearest / 2) * slower;
    finished.push(travel([port, { x: port.x, y: middle.y }, middle], start, half, colour, { from: node, to: "broker" }));
    for (const [other, ms] of far) {
      const to = ports.get(other);
      const ends = [middle, { x: to.x, y: middle.y }, to];
      finished.push(travel(ends, start + half, ms * slower - half, colour, { from: "broker", to: other }));
    }
  }
  for (const name of [node, ...hops.keys()]) {
    const came = start + (hops.get(name) ?? 0) * slower;
    for (const fish of fishesAt(name)) {
      if (fish.name !== dot) startle(fish, fish.own ? start + (mine.get(fish.name) ?? 0) * slower : came);
    }
  }
  drawing += 1;
  Promise.allSettled(finished).then(() => { drawing -= 1; });
}

// Move a message along points within `duration`, after `delay`; it is seen only while it moves.
function travel(points, delay, duration, colour, data) {
  const lengths = points.map((point, index) => (index ? Math.hypot(point.x - points[index - 1].x, point.y - points[index - 1].y) : 0));
  const whole = lengths.reduce((sum, each) => sum + each, 0) || 1;
  let gone = 0;
  const frames = points.map(({ x, y }, index) => {
    gone += lengths[index];
    return { transform: `translate(${x}px, ${y}px)`, offset: Math.min(1, gone / whole), opacity: 1 };
  });
  const group = document.createElementNS(SVG, "g");
  group.setAttribute("class", "message-dot");
  Object.assign(group.dataset, { colour, ...data });
  for (const [name, radius] of [["halo", 11], ["core", 5.5]]) {
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("class", name);
    circle.setAttribute("r", radius);
    group.append(circle);
  }
  groups.messages.append(group);
  const animation = group.animate(frames, { delay, duration: Math.max(1, duration) });
  return animation.finished.finally(() => group.remove());
}

// ---- wires: from each card straight to the broker's line

export function drawWires(origin) {
  const sign = hub.getBoundingClientRect();
  middle = { x: sign.left - origin.left + sign.width / 2, y: sign.top - origin.top + sign.height / 2 };
  ports = new Map();
  for (const [node, { element, card }] of allPlaces()) {
    const box = card.getBoundingClientRect();
    const edge = element.classList.contains("below") ? box.top : box.bottom;
    ports.set(node, { x: box.left - origin.left + box.width / 2, y: edge - origin.top });
  }
  for (const [node, line] of wires) if (!ports.has(node)) { line.remove(); wires.delete(node); }
  for (const [node, { x, y }] of ports) stretch(lineOf(node), x, y, x, middle.y);
  const all = [middle.x, ...[...ports.values()].map(({ x }) => x)];
  stretch(groups.rail, Math.min(...all), middle.y, Math.max(...all), middle.y);
}

function lineOf(node) {
  if (!wires.has(node)) {
    const line = document.createElementNS(SVG, "line");
    line.dataset.node = node;
    groups.wires.append(line);
    wires.set(node, line);
  }
  return wires.get(node);
}

function stretch(line, x1, y1, x2, y2) {
  for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(name, value.toFixed(1));
}
