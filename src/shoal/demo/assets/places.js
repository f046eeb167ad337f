// The servers: one card for each that has been heard of lately, with how many clients it has, in one or two rows along
// the broker. It knows names, counts and the time; it knows no socket, and leaves what happens between the cards to others.

const COLOURS = 8;
const SILENT_PERIODS = 3;
const DOWN_FOR = 15_000; // milliseconds that the place of a server that is gone stays free for it
const LAST_WORDS = 1000; // milliseconds in which a report of a server that is being killed may still come
const ONE_ROW = 3; // more servers than this stand in two rows, the broker between them

const places = new Map(); // node -> {clients, dots, every, heard, state, since, element, ...parts}
const colours = new Map(); // node -> slot, kept when the server goes: its messages are still on the page
let list = null;
let changed = () => {};
let killer = null;
let here = null;

// `element` is the list of cards; `onChange(event, node)` is told of "up", "down", and "" for anything else.
export function openPlaces(element, onChange) {
  list = element;
  changed = onChange;
}

// The same name has the same colour in every window. Names that end alike but for one character get different ones.
export function colourOf(node) {
  if (!colours.has(node)) {
    const wanted = [...node].reduce((sum, letter) => (sum * 2 + letter.codePointAt(0)) % COLOURS, 0);
    const taken = new Set([...places.keys()].map((other) => colours.get(other)));
    const free = [...Array(COLOURS).keys()].map((step) => (wanted + step) % COLOURS).find((slot) => !taken.has(slot));
    if (colours.size > 1000) colours.clear();
    colours.set(node, free ?? wanted);
  }
  return colours.get(node);
}

export const place = (node) => places.get(node);
export const allPlaces = () => places;
export const isUp = (node) => places.get(node)?.state === "up";

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function build(node) {
  const element = make("li", "server");
  element.dataset.node = node;
  element.dataset.colour = colourOf(node);
  const card = make("div", "card");
  const name = make("span", "name", node);
  name.title = node;
  const count = make("span", "count");
  const pool = make("div", "pool");
  pool.setAttribute("aria-hidden", "true");
  const more = make("span", "more");
  pool.append(more);
  const took = make("span", "took");
  took.setAttribute("aria-hidden", "true"); // the line below the picture says it in words
  const mark = make("span", "you-are-here", "you");
  mark.append(make("span", "rest", " are here"));
  card.append(name, count, pool, mark);
  element.append(card, took);
  const made = { element, card, count, pool, more, took, button: null };
  if (killer) addButton(node, made);
  return made;
}

// Give every card a button; `kill(node)` is called when it is pressed.
export function offerKill(kill) {
  killer = kill;
  for (const [node, made] of places) addButton(node, made);
}

function addButton(node, made) {
  if (made.button) return;
  made.button = make("button", "kill", "Kill");
  made.button.type = "button";
  made.button.setAttribute("aria-label", `Kill server ${node}`);
  made.button.title = `Kill server ${node}: its clients go on with the others`;
  made.button.addEventListener("click", () => killer(node));
  made.card.insertBefore(made.button, made.pool);
  made.button.setAttribute("aria-disabled", String(made.element.classList.contains("down")));
}

function draw(node) {
  const { element, count, clients, state, button } = places.get(node);
  element.classList.toggle("here", node === here);
  element.classList.toggle("stale", state === "stale");
  element.classList.toggle("down", state === "down");
  count.replaceChildren(...(state === "down" ? ["down"] : [String(clients), make("span", "word", clients === 1 ? " client" : " clients")]));
  button?.setAttribute("aria-disabled", String(state === "down")); // not disabled: who has the focus on it keeps it
  if (element.parentNode) return;
  const next = [...list.children].find((other) => other.dataset.node.localeCompare(node, undefined, { numeric: true }) > 0);
  list.insertBefore(element, next ?? null);
  arrange();
}

// Up to three servers stand in one row above the broker; more in two rows, the shorter one in the middle below it.
function arrange() {
  const elements = [...list.children];
  const rows = elements.length > ONE_ROW ? 2 : 1;
  const columns = Math.max(1, Math.ceil(elements.length / rows));
  list.dataset.rows = rows;
  list.style.setProperty("--columns", 2 * columns);
  elements.forEach((element, index) => {
    const below = index >= columns;
    const indent = below ? 2 * columns - elements.length : 0;
    element.classList.toggle("below", below);
    element.style.gridRow = below ? 3 : 1;
    element.style.gridColumn = `${1 + indent + 2 * (index % columns)} / span 2`;
  });
}

// A server said how many clients it has and which, and that it will say so again within `every` seconds; 0: never.
export function heard({ node, clients, dots, every }) {
  if (!every) return goneDown(node);
  const now = performance.now();
  const known = places.get(node);
  if (known?.state === "down" && now - known.since < LAST_WORDS) return;
  const entry = known ?? build(node);
  const wasDown = known?.state === "down";
  places.set(node, Object.assign(entry, { clients, dots: dots ?? entry.dots ?? [], every, heard: now, state: "up" }));
  draw(node);
  changed(wasDown ? "up" : "", node);
}

function goneDown(node) {
  const entry = places.get(node);
  if (!entry || entry.state === "down") return;
  Object.assign(entry, { state: "down", since: performance.now(), clients: 0, dots: [] });
  draw(node);
  changed("down", node);
}

// This page is connected to `node` now; null: to none.
export function moveTo(node) {
  here = node;
  for (const name of places.keys()) draw(name);
}

// A client of this page has lost its connection to `node`: nobody knows yet whether the server lives.
export function suspect(node) {
  const entry = places.get(node);
  if (entry?.state !== "up") return;
  entry.state = "stale";
  draw(node);
}

// Let go of servers that have been silent for three of their periods; while this page itself is deaf it cannot tell.
export function watchSilence(deaf) {
  const now = performance.now();
  for (const [node, entry] of places) {
    const silent = (now - entry.heard) / 1000 / entry.every;
    if (entry.state === "down") {
      if (!deaf && now - entry.since > DOWN_FOR) forget(node);
    } else if (deaf || silent > SILENT_PERIODS / 2) {
      entry.state = "stale";
      draw(node);
      if (!deaf && silent > SILENT_PERIODS) goneDown(node);
    }
  }
}

function forget(node) {
  places.get(node)?.element.remove();
  places.delete(node);
  arrange();
  changed("", node);
}
