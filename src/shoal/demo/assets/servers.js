// The picture of the system: one card for each server that has been heard of lately, with how many clients it has.
// It knows names, counts and the time; it knows no socket.

const COLOURS = 8;
const FISHES = 6;
const SILENT_PERIODS = 3;
const SVG = "http://www.w3.org/2000/svg";
const still = matchMedia("(prefers-reduced-motion: reduce)");

const servers = new Map(); // node -> {clients, every, heard, element, ...parts}
const colours = new Map(); // node -> slot, kept when the server goes: its messages are still on the page
let here = null;
let lastPulse = 0;

// The same name has the same colour in every window. Names that end alike but for one character get different ones.
export function colourOf(node) {
  if (!colours.has(node)) {
    const wanted = [...node].reduce((sum, letter) => (sum * 2 + letter.codePointAt(0)) % COLOURS, 0);
    const taken = new Set([...servers.keys()].map((other) => colours.get(other)));
    const free = [...Array(COLOURS).keys()].map((step) => (wanted + step) % COLOURS).find((slot) => !taken.has(slot));
    if (colours.size > 1000) colours.clear();
    colours.set(node, free ?? wanted);
  }
  return colours.get(node);
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function fish() {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", "#fish");
  svg.append(use);
  return svg;
}

function build(node) {
  const element = make("li", "server");
  element.dataset.node = node;
  element.dataset.colour = colourOf(node);
  const card = make("div", "card");
  const count = make("span", "count");
  const fishes = make("div", "fishes");
  const name = make("span", "name", node);
  name.title = node;
  fishes.setAttribute("aria-hidden", "true");
  const mark = make("span", "you-are-here", "you");
  mark.append(make("span", "rest", " are here"));
  card.append(name, count, fishes, mark);
  const [into, out] = ["in", "out"].map((way) => {
    const wire = make("span", `wire ${way}`);
    wire.append(document.createElement("i"));
    return wire;
  });
  element.append(into, card, out);
  return { element, card, count, fishes, into: into.firstChild, out: out.firstChild };
}

function draw(list, node) {
  const server = servers.get(node);
  const { element, count, fishes, clients } = server;
  element.classList.toggle("here", node === here);
  count.replaceChildren(String(clients), make("span", "word", clients === 1 ? " client" : " clients"));
  count.classList.toggle("many", clients > 9);
  const shown = Math.min(clients, FISHES);
  while (fishes.childElementCount < shown) fishes.append(fish());
  while (fishes.childElementCount > shown) fishes.lastChild.remove();
  [...fishes.children].forEach((one, index) => one.classList.toggle("you", node === here && index === 0));
  if (element.parentNode) return;
  const next = [...list.children].find((other) => other.dataset.node.localeCompare(node, undefined, { numeric: true }) > 0);
  list.insertBefore(element, next ?? null);
}

// A server said how many clients it has, and that it will say so again within `every` seconds; 0: never, it is leaving.
export function heard(list, node, clients, every) {
  if (!every) return forget(node);
  const known = servers.get(node) ?? build(node);
  servers.set(node, Object.assign(known, { clients, every, heard: performance.now() }));
  known.element.classList.remove("stale");
  draw(list, node);
}

// This page is connected to `node` now; null: to none.
export function moveTo(list, node) {
  here = node;
  for (const name of servers.keys()) draw(list, name);
}

// Forget the servers that have been silent for three of their periods; while this page itself is deaf it cannot tell.
export function forgetSilent(deaf) {
  const now = performance.now();
  for (const [node, { element, every, heard }] of servers) {
    const silent = (now - heard) / 1000 / every;
    element.classList.toggle("stale", deaf || silent > SILENT_PERIODS / 2);
    if (deaf || silent <= SILENT_PERIODS) continue;
    forget(node);
  }
}

function forget(node) {
  servers.get(node)?.element.remove();
  servers.delete(node);
}

// Show a message on its way: from its sender's server to the broker, and from there to the others.
export function pulse(node) {
  const from = servers.get(node);
  const now = performance.now();
  if (!from || still.matches || document.hidden || now - lastPulse < 150) return;
  lastPulse = now;
  const down = [{ top: "0", opacity: 1 }, { top: "100%", opacity: 1 }];
  const glow = { borderColor: getComputedStyle(from.card).getPropertyValue("--server") };
  from.card.animate([glow, {}], { duration: 700 });
  from.out.animate(down, { duration: 260, easing: "ease-in" });
  for (const [other, { out, card, element }] of servers) {
    if (other === node) continue;
    const colour = { background: glow.borderColor };
    out.animate(down.map((step) => ({ ...step, ...colour })).reverse(), { delay: 260, duration: 260, easing: "ease-out" });
    if (!element.classList.contains("stale")) card.animate([glow, {}], { delay: 520, duration: 500 });
  }
}
