// Many official clients in one process, which do what the lines on stdin say and answer each with a line. They talk in
// rooms of four, number what they say, and check what they hear. It knows nothing of the servers, nor of what is between.

const { io } = require("socket.io-client");
const { eventually } = require("./harness.cjs");
const readline = require("node:readline");

const ROOM = 4; // neighbours, whom a round robin deals out to different servers
const people = [];
let timers = [];
let round = 0; // each time that they begin to talk; what comes late of an earlier round is passed over

class Person {
  constructor(index, url, options) {
    this.room = `room ${Math.floor(index / ROOM)}`;
    this.index = index;
    this.said = 0;
    this.heard = new Map(); // by speaker: the numbers, as they came
    this.joined = false;
    this.node = "";
    this.trouble = []; // of the connection, in its order
    this.down = 0; // since when it has been without a server
    this.longest = 0; // ms
    const client = (this.client = io(url, { forceNew: true, ...options }));
    client.on("welcome", (node) => (this.node = node));
    client.on("connect", () => client.emit("join", this.room, () => this.back()));
    client.on("disconnect", (reason) => this.lost(`disconnect: ${reason}`));
    client.on("connect_error", (error) => this.trouble.push(`connect_error: ${error.message}`));
    client.on("said", (_, { speaker, number, of }) => {
      if (of !== round) return;
      if (!this.heard.has(speaker)) this.heard.set(speaker, []);
      this.heard.get(speaker).push(number);
    });
  }

  lost(what) {
    this.trouble.push(what);
    this.joined = false;
    this.down = Date.now();
  }

  back() {
    this.joined = true;
    if (this.down) this.longest = Math.max(this.longest, Date.now() - this.down);
    this.down = 0;
  }

  say() {
    this.client.emit("tell", this.room, { speaker: this.index, number: this.said++, of: round });
  }

  // What is wrong with what it has heard of its room: nothing is out of order or comes twice; and if neither it nor the
  // speaker was without a server meanwhile, nothing is missing.
  wrong() {
    const found = [];
    for (const speaker of people.filter((each) => each.room === this.room)) {
      const numbers = this.heard.get(speaker.index) ?? [];
      const calm = !this.trouble.length && !speaker.trouble.length;
      if (numbers.some((number, at) => at && number <= numbers[at - 1])) found.push(`disorder ${numbers}`);
      if (calm && numbers.length !== speaker.said) found.push(`lost ${speaker.said - numbers.length}`);
    }
    return found;
  }
}

const commands = {
  // So many clients, all connected and in their rooms.
  async connect({ url, count, options, patience }) {
    for (let index = 0; index < count; index += 1) people.push(new Person(index, url, options));
    await eventually(() => people.every((each) => each.joined), patience);
  },
  async upgraded({ patience }) {
    await eventually(() => people.every((each) => each.client.io.engine.transport.name === "websocket"), patience);
  },
  // From now on everyone says something every so often, not all in the same moment.
  async talk({ every }) {
    round += 1;
    for (const each of people) {
      each.said = 0;
      each.trouble = [];
      each.heard.clear();
    }
    for (const each of people) {
      const first = (every * each.index) / people.length;
      timers.push(setTimeout(() => timers.push(setInterval(() => each.say(), every)), first));
    }
  },
  // Nobody says more. What is wrong with what was heard, as soon as nothing is, or when patience ends.
  async hush({ patience }) {
    for (const timer of timers) clearInterval(timer);
    timers = [];
    const wrong = () => people.flatMap((each) => each.wrong());
    await eventually(() => !wrong().length, patience).catch(() => {});
    return { wrong: wrong(), said: people.reduce((sum, each) => sum + each.said, 0) };
  },
  // Everyone is connected and in the room; the longest time that anyone was not, in ms.
  async back({ patience }) {
    await eventually(() => people.every((each) => each.joined), patience);
    return { longest: Math.max(...people.map((each) => each.longest)) };
  },
  async state() {
    return {
      trouble: people.flatMap((each) => each.trouble),
      disturbed: people.filter((each) => each.trouble.length).length,
      said: people.reduce((sum, each) => sum + each.said, 0),
      joined: people.filter((each) => each.joined).length,
      nodes: people.map((each) => each.node),
      transports: [...new Set(people.map((each) => each.client.io.engine?.transport.name))],
    };
  },
  async close() {
    for (const each of people) each.client.disconnect();
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { command, ...args } = JSON.parse(line);
  let answer;
  try {
    answer = (await commands[command](args)) ?? {};
  } catch (error) {
    answer = { error: String(error), state: await commands.state() };
  }
  process.stdout.write(JSON.stringify(answer) + "\n", () => command === "close" && process.exit(0));
});
