// More clients of this page: each one a connection of its own, to whatever server the balancer gives it. They can talk, and
// what they receive is counted, so that it shows whether anything is lost or comes twice. They print nothing.

import { putOwn, removeOwn } from "./fish.js";
import { note } from "./messages.js";
import { suspect } from "./places.js";
import { received, sending } from "./way.js";

const STEP = 20;
const MOST = 100; // a browser opens no more than some 200 WebSockets
const APART = 30; // milliseconds between two that are opened
const TALK_EVERY = 700; // milliseconds
const COUNTED = 200; // messages that are looked at one by one; older ones are settled
const TALK = /^Hello no\. (\d+) from ([A-Za-z0-9_]+-\d+)$/;

const clients = new Map(); // name -> {ws, node, catching, missed}
const counted = new Map(); // text -> {expected: names, had: name -> times, taken}
const settled = { messages: 0, expected: 0, had: 0, twice: 0 };
const back = { clients: 0, anew: 0, missed: 0 };
let [prefix, serial, number, talking] = ["", 0, 0, 0];
let first = () => ({ name: "", connected: false });
let ui = null; // {add, remove, talk, proof, scroll}

// `tag` begins the names of this page's clients; `main` returns the name of its first one, and whether it is connected.
export function openCrowd(tag, main, elements) {
  [prefix, first, ui] = [tag, main, elements];
  ui.add.addEventListener("click", add);
  ui.remove.addEventListener("click", removeAll);
  ui.talk.addEventListener("click", () => (talking ? stopTalking() : startTalking()));
  setInterval(showProof, 400);
  enable();
}

function enable() {
  ui.add.disabled = clients.size >= MOST;
  ui.remove.hidden = ui.talk.hidden = clients.size === 0;
  ui.talk.setAttribute("aria-pressed", String(Boolean(talking)));
}

function add() {
  const count = Math.min(STEP, MOST - clients.size);
  for (let index = 0; index < count; index += 1) open(`${prefix}-${(serial += 1)}`, index * APART);
  enable();
}

function open(name, delay) {
  const ws = io({ forceNew: true, autoConnect: false, transports: ["websocket"], auth: { dot: name } });
  const client = { ws, node: null, catching: false, missed: 0, lost: false };
  clients.set(name, client);
  ws.on("connect", () => Object.assign(client, { catching: ws.recovered, missed: 0 }));
  ws.on("chat-message", (message) => {
    client.missed += client.catching;
    hear(name, String(message));
  });
  ws.on("welcome", ({ node }) => {
    putOwn(name, node);
    if (client.lost) cameBack(client, ws.recovered);
    Object.assign(client, { node, catching: false, lost: false });
  });
  ws.on("disconnect", (reason) => {
    if (!clients.has(name)) return;
    suspect(client.node);
    Object.assign(client, { node: null, lost: true });
    putOwn(name, null);
    if (reason === "io server disconnect") setTimeout(() => ws.connect(), 1000);
  });
  ws.on("connect_error", () => { if (!ws.active) setTimeout(() => ws.connect(), 2000); });
  putOwn(name, null);
  setTimeout(() => { if (clients.has(name)) ws.connect(); }, delay);
}

function removeAll() {
  stopTalking();
  for (const [name, { ws }] of clients) {
    clients.delete(name);
    ws.disconnect();
    removeOwn(name);
  }
  counted.clear();
  Object.assign(settled, { messages: 0, expected: 0, had: 0, twice: 0 });
  enable();
  ui.add.focus(); // the button that was pressed is gone
}

// Say it once for all that lost their connection together, when the last one is back.
function cameBack(client, recovered) {
  back.clients += 1;
  back.anew += !recovered;
  back.missed += client.missed;
  if ([...clients.values()].some((other) => other !== client && other.lost)) return;
  const who = back.clients === 1 ? "one client is back" : `${back.clients} clients are back`;
  note(back.anew ? `${who}, as new ones: what was said meanwhile they have not heard` : `${who}, with ${messages(back.missed)} that they missed`);
  Object.assign(back, { clients: 0, anew: 0, missed: 0 });
}

export const messages = (count) => (count === 1 ? "the one message" : count ? `the ${count} messages` : "nothing");

// ---- talk

function startTalking() {
  talking = setInterval(talk, TALK_EVERY);
  ui.scroll.ariaLive = "off"; // nobody wants that read out
  talk();
  enable();
}

function stopTalking() {
  clearInterval(talking);
  talking = 0;
  ui.scroll.ariaLive = "polite";
  enable();
}

function talk() {
  const ready = [...clients].filter(([, { node }]) => node);
  if (!ready.length) return;
  const [name, { ws }] = ready[Math.floor(Math.random() * ready.length)];
  const text = `Hello no. ${(number += 1)} from ${name}`;
  const expected = [...clients].filter(([, { node, lost }]) => node || lost).map(([other]) => other); // not who is new
  const entry = { expected: new Set([first().name, ...expected]), had: new Map(), taken: false };
  counted.set(text, entry);
  if (counted.size > COUNTED) settle(counted.keys().next().value);
  sending(name, text);
  ws.timeout(5000).emit("chat", text, (late, answer) => { entry.taken ||= !late && answer?.ok === true; });
}

// ---- what was received

// A client of this page has received a message.
export function hear(name, message) {
  const at = message.indexOf(": ");
  const text = message.slice(at + 2);
  received(name, message.slice(0, at), text);
  const entry = TALK.test(text) && counted.get(text);
  if (entry) entry.had.set(name, (entry.had.get(name) ?? 0) + 1);
}

// A message counts when a server has said that it took it, or somebody has it.
function sums({ expected, had, taken }) {
  if (!taken && !had.size) return { messages: 0, expected: 0, had: 0, twice: 0 };
  const times = [...expected].map((name) => had.get(name) ?? 0);
  return { messages: 1, expected: times.length, had: times.filter(Boolean).length, twice: times.filter((each) => each > 1).length };
}

function addTo(total, part) {
  for (const name of Object.keys(total)) total[name] += part[name];
  return total;
}

function settle(text) {
  addTo(settled, sums(counted.get(text)));
  counted.delete(text);
}

function showProof() {
  const total = [...counted.values()].map(sums).reduce(addTo, { ...settled });
  const lines = [];
  const connected = [...clients.values()].filter(({ node }) => node).length + first().connected;
  if (clients.size) lines.push(`${connected} of ${clients.size + 1} clients here`);
  if (total.messages) {
    const { messages: all, expected, had, twice } = total;
    lines.push(`${had.toLocaleString("en")} of ${expected.toLocaleString("en")} deliveries of ${all.toLocaleString("en")} messages`, `${twice} twice`);
  }
  ui.proof.textContent = lines.join(" · ");
  Object.assign(ui.proof.dataset, total);
}
