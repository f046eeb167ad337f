// Clients that talk in several rooms, number what they say and check all that they hear. Settings come from
// SHOAL_TEST_TALKERS as JSON; a line on stdin ends the talk; each line on stdout is a JSON object, the last one the verdict.
// It knows the official client; of the servers only that "say" is acknowledged with true and comes as "said" to the room.

const { createHash } = require("node:crypto");
const { io } = require("socket.io-client");

const { url, clients, rooms, joined, interval, quiet, seed } = JSON.parse(process.env.SHOAL_TEST_TALKERS);
const ACK_TIMEOUT = 6_000; // ms
const SETTLED = 700; // ms without anything new when nothing is missing: time for what would come twice
const LONGEST = 25_000; // ms until the verdict, however much still comes
const SHOWN = 12; // examples of each kind

const began = Date.now();
const now = () => (Date.now() - began) / 1000;
const tell = (object) => process.stdout.write(JSON.stringify(object) + "\n");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The same numbers between 0 and 1 for the same seed.
function chance(name) {
  let count = 0;
  return () => createHash("sha256").update(`${seed} ${name} ${count++}`).digest().readUInt32LE() / 2 ** 32;
}

let lastNews = now(); // when a message was heard, acknowledged or given up
const talkers = [];

class Talker {
  constructor(name) {
    this.name = name;
    this.rooms = Array.from({ length: joined }, (_, place) => `room ${(name + place) % rooms}`);
    this.said = []; // by number: { room, at, acked }
    this.heard = []; // [sender, number, at], in order
    this.open = 0; // said, and neither acknowledged nor given up
    this.connects = [];
    this.refused = 0;
    this.random = chance(name);
    this.socket = io(url, {
      transports: ["websocket"],
      forceNew: true,
      auth: { rooms: this.rooms },
      timeout: 2_000,
      reconnectionDelay: 60,
      reconnectionDelayMax: 500,
    });
    this.joined = new Promise((resolve) => this.socket.once("joined", resolve));
    this.socket.on("connect", () => {
      this.connects.push({ at: now(), id: this.socket.id, recovered: this.socket.recovered });
    });
    this.socket.on("disconnect", (reason) => this.connects.push({ at: now(), reason }));
    this.socket.on("connect_error", (error) => {
      if (this.socket.active) return; // the transport; the client tries again by itself
      this.refused++;
      this.connects.push({ at: now(), refused: error.message });
      setTimeout(() => this.socket.connect(), 200);
    });
    this.socket.on("said", (room, sender, number) => {
      lastNews = now();
      this.heard.push([sender, number, lastNews]);
    });
  }

  async talk(going) {
    while (going()) {
      await pause(interval * (0.5 + this.random()));
      if (this.socket.connected && this.open < 20) this.say();
    }
  }

  say() {
    const message = { room: `room ${Math.floor(this.random() * rooms)}`, at: now(), acked: null };
    const number = this.said.push(message) - 1;
    this.open++;
    const settled = () => (this.open--, (lastNews = now()));
    this.socket
      .timeout(ACK_TIMEOUT)
      .emitWithAck("say", message.room, this.name, number)
      .then((is) => is === true && (message.acked = now()), () => {})
      .finally(settled);
  }
}

const nameOf = ([sender, number]) => `${sender} ${number}`;

// What went wrong, by kind.
function findings() {
  const found = { lost: [], twice: [], disorder: [], late: [], unrecovered: [] };
  for (const listener of talkers) {
    const times = new Map();
    const last = new Map();
    for (const each of listener.heard) {
      const [sender, number, at] = each;
      const message = talkers[sender].said[number];
      const shown = { listener: listener.name, sender, number, at, ...message, said: message.at };
      times.set(nameOf(each), (times.get(nameOf(each)) ?? 0) + 1);
      if (times.get(nameOf(each)) > 1) found.twice.push(shown);
      else if (number < (last.get(sender) ?? -1)) {
        // What was given up may still be done by a server that was stopped meanwhile: nobody was promised its place.
        (message.acked === null ? found.late : found.disorder).push({ ...shown, behind: last.get(sender) });
      }
      if (message.acked !== null) last.set(sender, Math.max(number, last.get(sender) ?? -1));
    }
    for (const talker of talkers) {
      talker.said.forEach((message, number) => {
        if (message.acked !== null && listener.rooms.includes(message.room) && !times.has(nameOf([talker.name, number])))
          found.lost.push({ listener: listener.name, sender: talker.name, number, ...message });
      });
    }
    listener.connects.filter(({ id }) => id).slice(1).filter(({ recovered }) => !recovered)
      .forEach((each) => found.unrecovered.push({ listener: listener.name, ...each }));
  }
  return found;
}

const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

async function main() {
  for (let name = 0; name < clients; name++) talkers.push(new Talker(name));
  await Promise.all(talkers.map((talker) => talker.joined));
  tell({ ready: clients });
  let going = true;
  const stopped = new Promise((resolve) => process.stdin.once("data", resolve));
  const talks = talkers.map((talker) => talker.talk(() => going));
  await stopped;
  going = false;
  await Promise.all(talks);
  const until = now() + LONGEST / 1000;
  for (;;) { // the verdict is on the moment in which this ends: connections may be cut at any time
    const pending = talkers.some(({ open, socket }) => open || !socket.connected);
    const silence = (now() - lastNews) * 1000;
    if (!pending && silence > SETTLED && (silence > quiet || !findings().lost.length)) break;
    if (now() > until) break;
    await pause(50);
  }
  const found = findings();
  const messages = talkers.flatMap(({ said }) => said);
  const kinds = Object.entries(found);
  const heard = new Set(talkers.flatMap((talker) => talker.heard.map(nameOf)));
  const givenUp = talkers.flatMap(({ name, said }) =>
    said.flatMap(({ acked }, number) => (acked === null ? [nameOf([name, number])] : [])));
  tell({
    began,
    said: messages.length,
    acknowledged: messages.filter(({ acked }) => acked !== null).length,
    given_up: givenUp.length,
    given_up_heard: givenUp.filter((each) => heard.has(each)).length,
    heard: sum(talkers.map(({ heard }) => heard.length)),
    reconnections: sum(talkers.map(({ connects }) => connects.filter(({ id }) => id).length - 1)),
    refused: sum(talkers.map(({ refused }) => refused)),
    disconnected: talkers.filter(({ socket }) => !socket.connected).length,
    ...Object.fromEntries(kinds.map(([kind, all]) => [kind, all.length])),
    examples: Object.fromEntries(kinds.map(([kind, all]) => [kind, all.slice(0, SHOWN)])),
    connects: Object.fromEntries(talkers.map(({ name, connects }) => [name, connects])),
  });
  for (const { socket } of talkers) socket.disconnect();
}

main().then(() => process.stdin.destroy());
