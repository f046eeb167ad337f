// The chat: one Socket.IO connection, what it says, and what the reader says. `ws` is global, so that the console can
// use it: ws.emit('chat', "Hello! I'm client")

import { keepAsking } from "./clock.js";
import { hear, messages, openCrowd } from "./crowd.js";
import { openSea, putOwn, redraw, reported } from "./fish.js";
import { openKill } from "./kill.js";
import { note, said } from "./messages.js";
import { colourOf, heard, moveTo, openPlaces, suspect, watchSilence } from "./places.js";
import { drawWires, openWay, passed, sending, traced } from "./way.js";

const ANSWER_WITHIN = 5000; // milliseconds that a server has to say it took a message
const OWN_KEPT = 50; // texts of ours that have not come back yet

const $ = (id) => document.getElementById(id);
const [state, list, text, send, trouble, spoken] = ["state", "servers", "text", "send", "trouble", "spoken"].map($);
const tag = [...crypto.getRandomValues(new Uint8Array(5))].map((byte) => (byte % 36).toString(36)).join("");
const dot = `${tag}-0`;
const own = [];
let here = null;
let caught = null; // messages that were missed and are brought now

function show(name, words) {
  state.dataset.state = name;
  state.textContent = words;
  send.disabled = name !== "connected";
}

function complain(words) {
  trouble.textContent = words;
  trouble.hidden = !words;
}

function openPicture() {
  $("door").textContent = `you come in at ${location.host}`;
  openPlaces(list, (event, node) => {
    reported();
    if (!event) return;
    spoken.textContent = event === "down" ? `Server ${node} is down.` : `Server ${node} is back.`;
    note(event === "down" ? `server ${node} is down: its clients look for another one` : `server ${node} is back`);
  });
  openSea($("fishes"), $("stage"), $("door"), drawWires);
  openWay({ wires: $("wires"), rail: $("line"), messages: $("ways") }, $("broker"), $("reading"));
}

function connect() {
  const ws = io({ auth: { dot } });
  window.ws = ws;

  ws.on("connect", () => {
    console.log("ws connected");
    complain("");
    caught = ws.recovered ? 0 : null;
    ws.emit("watch");
  });

  ws.on("welcome", (welcome) => {
    const before = here;
    here = welcome.node;
    show("connected", `connected to ${here}`);
    document.title = `${here} · Shoal chat`;
    heard(welcome);
    moveTo(here);
    putOwn(dot, here, true);
    if (before) note(`back, now on server ${here}${caught === null ? "" : `, with ${messages(caught)} that this page missed`}`);
    caught = null;
  });

  ws.on("presence", heard);
  ws.on("trace", traced);
  ws.on("passed", passed);
  keepAsking(ws);

  ws.on("chat-message", (message) => {
    console.log(message);
    if (caught !== null) caught += 1;
    const [node, words] = split(message);
    hear(dot, String(message));
    said(node, words, colourOf(node), isOwn(node, words));
  });

  ws.on("disconnect", (reason) => {
    own.length = 0;
    show("lost", "lost: reconnecting");
    moveTo(null);
    putOwn(dot, null, true);
    if (here) suspect(here);
    note(`lost ${here ? `server ${here}` : "the server"}: reconnecting`); // it may be lost before it told its name
    // The client comes back by itself from everything but a server that sent it away.
    if (reason === "io server disconnect") setTimeout(() => ws.connect(), 1000);
  });

  ws.on("connect_error", (error) => {
    show("lost", "no server: retrying");
    // A refusal is final for the client. A server that refuses while it is leaving has neighbours that do not.
    if (!ws.active) setTimeout(() => ws.connect(), 2000);
    console.info(`ws could not connect: ${error.message}`);
  });

  // Whatever says it, the form or the console: remember it, to know it again when it comes back.
  ws.onAnyOutgoing((event, words) => {
    if (event !== "chat" || typeof words !== "string") return;
    sending(dot, words);
    own.push(words);
    if (own.length > OWN_KEPT) own.shift();
  });

  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = text.value.trim();
    if (!words || !ws.connected) return;
    text.value = "";
    ws.timeout(ANSWER_WITHIN).emit("chat", words, (late, answer) => {
      const error = late ? "the server did not answer" : answer?.error;
      complain(error ? `Not delivered: ${error}.` : "");
    });
  });

  openCrowd(tag, () => ({ name: dot, connected: state.dataset.state === "connected" }), {
    add: $("add"), remove: $("remove"), talk: $("talk"), proof: $("proof"), scroll: $("scroll"),
  });
  openKill(complain);
  setInterval(() => {
    watchSilence(!ws.connected);
    reported();
  }, 1000);
}

// "2222: Hello" comes from a client of server 2222.
function split(message) {
  const whole = String(message);
  const at = whole.indexOf(": ");
  return at < 0 ? ["?", whole] : [whole.slice(0, at), whole.slice(at + 2)];
}

function isOwn(node, words) {
  const at = node === here ? own.indexOf(words) : -1;
  if (at >= 0) own.splice(at, 1);
  return at >= 0;
}

$("copy").addEventListener("click", async ({ currentTarget: button }) => {
  const words = $("hint").textContent;
  try {
    await navigator.clipboard.writeText(words);
    button.textContent = "Copied";
  } catch {
    // No clipboard outside a secure context, such as a phone that opened the page by address: mark it for the reader.
    getSelection().selectAllChildren($("hint"));
    button.textContent = "Marked";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

openPicture();
redraw();
if (typeof io === "function") connect();
else {
  show("lost", "no client");
  complain("The Socket.IO browser client could not be loaded. Run scripts/fetch-client.sh, restart the server and reload.");
}
