// The chat: one Socket.IO connection, what it says, and what the reader says. `ws` is global, so that the console can
// use it: ws.emit('chat', "Hello! I'm client")

import { colourOf, forgetSilent, heard, moveTo, pulse } from "./servers.js";
import { note, said } from "./messages.js";

const ANSWER_WITHIN = 5000; // milliseconds that a server has to say it took a message
const OWN_KEPT = 50; // texts of ours that have not come back yet

const $ = (id) => document.getElementById(id);
const [state, list, text, send, trouble] = ["state", "servers", "text", "send", "trouble"].map($);
const own = [];
let here = null;

$("door").textContent = `you come in at ${location.host}`;

function show(name, words) {
  state.dataset.state = name;
  state.textContent = words;
  send.disabled = name !== "connected";
}

function complain(words) {
  trouble.textContent = words;
  trouble.hidden = !words;
}

function connect() {
  const ws = io();
  window.ws = ws;

  ws.on("connect", () => {
    console.log("ws connected");
    complain("");
  });

  ws.on("welcome", ({ node, clients, every }) => {
    const before = here;
    here = node;
    show("connected", `connected to ${node}`);
    document.title = `${node} · Shoal chat`;
    heard(list, node, clients, every);
    moveTo(list, node);
    if (before) note(`back, now on server ${node}`);
  });

  ws.on("presence", ({ node, clients, every }) => heard(list, node, clients, every));

  ws.on("chat-message", (message) => {
    console.log(message);
    const [node, words] = split(message);
    said(node, words, colourOf(node), isOwn(node, words));
    pulse(node);
  });

  ws.on("disconnect", (reason) => {
    own.length = 0;
    show("lost", "lost: reconnecting");
    moveTo(list, null);
    note(`lost server ${here ?? ""}: reconnecting`);
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

  setInterval(() => forgetSilent(!ws.connected), 1000);
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

if (typeof io === "function") connect();
else {
  show("lost", "no client");
  complain("The Socket.IO browser client could not be loaded. Run scripts/fetch-client.sh, restart the server and reload.");
}
