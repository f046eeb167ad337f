// Events both ways: acks, binary, dates, order, size, volatile. Run over every transport.

const assert = require("node:assert/strict");
const { scenario, jsonOnly, next, nextMany, collect, eventually, connected, pause } = require("./harness.cjs");

const room = (name) => `${name}-${process.pid}`; // no other run's members are in it
const BYTES = Buffer.from([0, 1, 2, 127, 128, 254, 255]);

scenario("a socket has the id that the server gave it", async ({ connect }) => {
  const socket = await connect();
  assert.equal(typeof socket.id, "string");
  assert.equal(await socket.emitWithAck("id"), socket.id);
});

scenario("every kind of JSON value comes back in an ack", async ({ connect }) => {
  const socket = await connect();
  const values = [false, true, 0, -1, 1.5, 1e-7, 9007199254740991, null, "", "text", [], {}, [[1, [2]]], { a: { b: [{ c: null }] } }];
  for (const value of values) assert.deepEqual(await socket.emitWithAck("echo", value), value);
});

scenario("false is an argument like any other", async ({ connect }) => {
  const socket = await connect();
  socket.emit("reflect", false);
  assert.deepEqual(await next(socket, "reflected"), [false]);
});

scenario("text in many scripts comes back unharmed", async ({ connect }) => {
  const socket = await connect();
  const texts = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "€😀𝄞", "a\u0000b\u2028c\"\\\n\x1e", "क़ 한 \ufffd"];
  const received = nextMany(socket, "reflected", texts.length);
  for (const text of texts) socket.emit("reflect", text);
  assert.deepEqual((await received).flat(), texts);
});

scenario("several arguments come back in their order", async ({ connect }) => {
  const socket = await connect();
  socket.emit("reflect", 1, "2", { 3: [true] }, null);
  assert.deepEqual(await next(socket, "reflected"), [1, "2", { 3: [true] }, null]);
});

scenario("an ack callback gets every value", async ({ connect }) => {
  const socket = await connect();
  const got = await new Promise((resolve) => socket.emit("echo", 5, { test: true }, (...args) => resolve(args)));
  assert.deepEqual(got, [5, { test: true }]);
});

scenario("an ack without a value calls back without one", async ({ connect }) => {
  const socket = await connect();
  const got = await new Promise((resolve) => socket.emit("nothing", (...args) => resolve(args)));
  assert.deepEqual(got, []);
});

jsonOnly("a number beyond the integers comes back", async ({ connect }) => {
  const socket = await connect();
  assert.deepEqual(await socket.emitWithAck("echo", [1e21, -1e300]), [1e21, -1e300]);
});

jsonOnly("an undefined argument arrives as null", async ({ connect }) => {
  const socket = await connect();
  assert.equal(await socket.emitWithAck("echo", undefined), null);
});

scenario("the server calls and the client answers", async ({ connect }) => {
  const socket = await connect();
  socket.on("question", (a, b, answer) => answer({ sum: a + b }));
  assert.deepEqual(await socket.emitWithAck("ask", 2, 3), { sum: 5 });
});

scenario("the client answers a call long after, and out of order", async ({ connect }) => {
  const socket = await connect();
  const answers = [];
  socket.on("question", (value, answer) => answers.push(() => answer(value)));
  const asked = ["a", "b", "c"].map((value) => socket.emitWithAck("ask-concurrently", value));
  await eventually(() => answers.length === 3);
  for (const answer of answers.reverse()) answer();
  assert.deepEqual(await Promise.all(asked), ["a", "b", "c"]);
});

scenario("a call that the client leaves unanswered times out", async ({ connect }) => {
  const socket = await connect();
  assert.equal(await socket.emitWithAck("ask-in-vain"), "timed out");
  assert.equal(await socket.emitWithAck("echo", "still here"), "still here");
});

scenario("an ack within its timeout resolves", async ({ connect }) => {
  const socket = await connect();
  assert.equal(await socket.timeout(5000).emitWithAck("echo", 42), 42);
  const [error, value] = await new Promise((resolve) => socket.timeout(5000).emit("echo", 43, (...args) => resolve(args)));
  assert.equal(error, null);
  assert.equal(value, 43);
});

scenario("an ack that never comes times out", async ({ connect }) => {
  const socket = await connect();
  await assert.rejects(socket.timeout(100).emitWithAck("never"), /operation has timed out/);
  const [error] = await new Promise((resolve) => socket.timeout(100).emit("never", (...args) => resolve(args)));
  assert.match(error.message, /operation has timed out/);
});

scenario("a lost connection fails what waits for an ack", async ({ connect }) => {
  const socket = await connect();
  const waiting = socket.emitWithAck("never");
  socket.disconnect();
  await assert.rejects(waiting, /socket has been disconnected/);
});

scenario("an event without a handler goes to the catch-all", async ({ connect }) => {
  const socket = await connect();
  assert.deepEqual(await socket.emitWithAck("nobody knows this", 1, BYTES), ["nobody knows this", 1, BYTES]);
});

scenario("a handler that raises hurts nobody", async ({ connect }) => {
  const socket = await connect();
  socket.emit("raise");
  assert.equal(await socket.emitWithAck("echo", "still here"), "still here");
});

scenario("a buffer goes and comes as a buffer", async ({ connect }) => {
  const socket = await connect();
  socket.emit("reflect", BYTES);
  const [received] = await next(socket, "reflected");
  assert.ok(Buffer.isBuffer(received));
  assert.deepEqual(received, BYTES);
});

jsonOnly("an ArrayBuffer and a typed array go as bytes", async ({ connect }) => {
  const socket = await connect();
  const typed = new Uint8Array(BYTES);
  assert.deepEqual(await socket.emitWithAck("echo", typed.buffer), BYTES);
  assert.deepEqual(await socket.emitWithAck("echo", typed), BYTES);
  assert.deepEqual(await socket.emitWithAck("echo", typed.subarray(2, 4)), BYTES.subarray(2, 4));
});

scenario("buffers within objects keep their places", async ({ connect }) => {
  const socket = await connect();
  const value = { a: [BYTES, { b: Buffer.from("b") }], c: "text", d: { e: Buffer.alloc(0) }, f: [null, Buffer.from("f")] };
  socket.emit("reflect", "before", value, BYTES);
  assert.deepEqual(await next(socket, "reflected"), ["before", value, BYTES]);
});

scenario("buffers travel in acks both ways", async ({ connect }) => {
  const socket = await connect();
  const value = { first: BYTES, rest: [Buffer.from("1"), Buffer.from("2")] };
  assert.deepEqual(await socket.emitWithAck("echo", value), value);
  socket.on("question", (question, answer) => answer({ question, mine: BYTES }));
  assert.deepEqual(await socket.emitWithAck("ask", value), { question: value, mine: BYTES });
});

scenario("ten buffers fit in one event", async ({ connect }) => {
  const socket = await connect();
  const buffers = Array.from({ length: 10 }, (_, number) => Buffer.alloc(number + 1, number));
  assert.deepEqual(await socket.emitWithAck("echo", buffers), buffers);
});

scenario("binary and text keep their order", async ({ connect }) => {
  const socket = await connect();
  const received = nextMany(socket, "reflected", 300);
  const sent = Array.from({ length: 300 }, (_, number) => (number % 3 ? number : { number, bytes: Buffer.from(`${number}`) }));
  for (const value of sent) socket.emit("reflect", value);
  assert.deepEqual((await received).flat(), sent);
});

jsonOnly("a date goes and comes as ISO text", async ({ connect }) => {
  const socket = await connect();
  const date = new Date(Date.UTC(2024, 1, 29, 12, 34, 56, 789));
  assert.equal(await socket.emitWithAck("echo", date), "2024-02-29T12:34:56.789Z");
  assert.deepEqual(await socket.emitWithAck("echo", { at: date }), { at: "2024-02-29T12:34:56.789Z" });
  const dates = await socket.emitWithAck("dates");
  assert.deepEqual(dates, { at: ["2020-01-02T03:04:05.678Z"] });
  assert.equal(new Date(dates.at[0]).toJSON(), dates.at[0]);
});

scenario("a text of 900 kB goes both ways", async ({ connect }) => {
  const socket = await connect();
  const text = "0123456789".repeat(90_000);
  assert.equal(await socket.emitWithAck("echo", text), text);
});

scenario("a buffer of 700 kB goes both ways", async ({ connect }) => {
  const socket = await connect();
  const buffer = Buffer.alloc(700_000, "0123456789abc");
  assert.ok(buffer.equals(await socket.emitWithAck("echo", buffer)));
});

scenario("ten thousand messages keep their order", async ({ open }) => {
  const socket = open();
  const received = nextMany(socket, "reflected", 10_000, 40_000);
  for (let number = 0; number < 10_000; number += 1) socket.emit("reflect", number);
  const numbers = (await received).flat();
  assert.ok(numbers.every((number, place) => number === place));
});

scenario("messages spread over the upgrade keep their order", async ({ connect }) => {
  const socket = await connect();
  const received = nextMany(socket, "reflected", 400, 30_000);
  for (let number = 0; number < 400; number += 1) {
    socket.emit("reflect", number);
    if (number % 20 === 0) await pause(1);
  }
  assert.deepEqual((await received).flat(), Array.from({ length: 400 }, (_, number) => number));
});

scenario("what the server emits in one go comes in order", async ({ connect }) => {
  const socket = await connect();
  const received = nextMany(socket, "number", 3000);
  socket.emit("count-to", 3000);
  assert.deepEqual((await received).flat(), Array.from({ length: 3000 }, (_, number) => number));
});

scenario("direct and room emits keep their common order", async ({ connect }) => {
  const socket = await connect();
  const received = nextMany(socket, "number", 300);
  socket.emit("count-by-many-ways", 300);
  assert.deepEqual((await received).flat(), Array.from({ length: 300 }, (_, number) => number));
});

scenario("one socket's events are handled one at a time", async ({ connect }) => {
  const socket = await connect();
  const started = collect(socket, "started");
  const waits = [30, 1, 15, 0];
  assert.deepEqual(await Promise.all(waits.map((ms) => socket.emitWithAck("take", ms))), waits);
  assert.deepEqual(started, [[30, 0], [1, 0], [15, 0], [0, 0]]);
});

scenario("events sent before the connection wait for it", async ({ open }) => {
  const socket = open("/", { autoConnect: false });
  for (const number of [1, 2, 3]) socket.emit("reflect", number);
  const received = nextMany(socket, "reflected", 3);
  socket.connect();
  assert.deepEqual((await received).flat(), [1, 2, 3]);
});

scenario("a volatile event to a connected server arrives", async ({ connect }) => {
  const socket = await connect();
  await eventually(async () => {
    socket.volatile.emit("reflect", "volatile");
    return next(socket, "reflected", 200).catch(() => false);
  });
});

scenario("a volatile event without a connection is dropped", async ({ open }) => {
  const socket = open("/", { autoConnect: false });
  const received = collect(socket, "reflected");
  socket.volatile.emit("reflect", "volatile");
  socket.emit("reflect", "kept");
  socket.connect();
  await connected(socket);
  await socket.emitWithAck("echo");
  assert.deepEqual(received, ["kept"]);
});

scenario("the server's volatile event reaches a reading client", async ({ connect }) => {
  const socket = await connect();
  // Dropped while no poll waits, which is what volatile means; so it is asked for again.
  const said = await eventually(() => {
    socket.emit("say-volatile", "now", BYTES);
    return next(socket, "said", 300).catch(() => false);
  });
  assert.deepEqual(said, ["now", BYTES]);
});

scenario("compression is a hint that changes nothing", async ({ connect }) => {
  const socket = await connect();
  assert.equal(await socket.compress(false).emitWithAck("echo", "plain"), "plain");
  assert.equal(await socket.compress(true).emitWithAck("echo", "packed"), "packed");
});

scenario("catch-all listeners of the client see every event", async ({ connect }) => {
  const socket = await connect();
  const incoming = [];
  const outgoing = [];
  socket.onAny((event, ...args) => incoming.push([event, ...args]));
  socket.onAnyOutgoing((event, ...args) => outgoing.push([event, ...args]));
  socket.emit("reflect", 1, BYTES);
  await next(socket, "reflected");
  assert.deepEqual(incoming, [["reflected", 1, BYTES]]);
  assert.deepEqual(outgoing, [["reflect", 1, BYTES]]);
});

scenario("rooms hear what is meant for them", async ({ connect }) => {
  const [a, b, c] = await Promise.all([connect(), connect(), connect()]);
  const heard = [a, b, c].map((socket) => collect(socket, "said"));
  await Promise.all([a.emitWithAck("join", room("red")), b.emitWithAck("join", room("red")), b.emitWithAck("join", room("blue")), c.emitWithAck("join", room("blue"))]);
  assert.deepEqual(new Set(await b.emitWithAck("rooms")), new Set([room("red"), room("blue"), b.id]));
  await a.emitWithAck("tell", [room("red")], "to red");
  await a.emitWithAck("tell", [room("red"), room("blue")], "to both, once");
  await a.emitWithAck("tell-but", [room("red"), room("blue")], [room("red")], "to blue without red");
  await b.emitWithAck("tell-others", room("blue"), "to blue without me");
  await b.emitWithAck("leave", room("blue"));
  await a.emitWithAck("tell", [room("blue")], "after b has left", BYTES);
  await a.emitWithAck("tell", [b.id], "to b alone");
  await Promise.all([a, b, c].map((socket) => socket.emitWithAck("echo")));
  await eventually(() => heard[0].length >= 2 && heard[1].length >= 3 && heard[2].length >= 4);
  assert.deepEqual(heard[0], ["to red", "to both, once"]);
  assert.deepEqual(heard[1], ["to red", "to both, once", "to b alone"]);
  assert.deepEqual(heard[2], ["to both, once", "to blue without red", "to blue without me", ["after b has left", BYTES]]);
});

scenario("thirty clients hear a broadcast once each", async ({ connect }) => {
  const sockets = await Promise.all(Array.from({ length: 30 }, () => connect()));
  assert.equal(new Set(sockets.map((socket) => socket.id)).size, 30);
  await Promise.all(sockets.map((socket) => socket.emitWithAck("join", room("crowd"))));
  const heard = sockets.map((socket) => collect(socket, "said"));
  for (const [number, socket] of sockets.entries()) socket.emit("tell", [room("crowd")], number);
  await eventually(() => heard.every((said) => said.length >= 30));
  await Promise.all(sockets.map((socket) => socket.emitWithAck("echo")));
  for (const said of heard) {
    assert.deepEqual([...said].sort((x, y) => x - y), Array.from({ length: 30 }, (_, number) => number));
    assert.deepEqual(said, heard[0]);
  }
});

scenario("a room can be called, and who kept silent is named", async ({ connect }) => {
  const [a, b, c] = await Promise.all([connect(), connect(), connect()]);
  await Promise.all([a, b, c].map((socket) => socket.emitWithAck("join", room("voters"))));
  a.on("question", (answer) => answer("yes"));
  b.on("question", (answer) => answer(BYTES));
  const result = await a.emitWithAck("poll-room", room("voters"), 0.5);
  assert.equal(result.missing, 1);
  assert.deepEqual(result.responses.filter((response) => response === "yes"), ["yes"]);
  assert.deepEqual(result.responses.filter((response) => Buffer.isBuffer(response)), [BYTES]);
  c.on("question", (answer) => answer("no"));
  const full = await a.emitWithAck("poll-room", room("voters"), 5);
  assert.equal(full.missing, 0);
  assert.equal(full.responses.length, 3);
});

scenario("the members of a room can be fetched and moved", async ({ connect }) => {
  const [a, b] = await Promise.all([connect(), connect()]);
  await Promise.all([a, b].map((socket) => socket.emitWithAck("join", room("here"))));
  assert.deepEqual((await a.emitWithAck("members", room("here"))).sort(), [a.id, b.id].sort());
  await a.emitWithAck("move", room("here"), room("there"));
  assert.deepEqual((await a.emitWithAck("members", room("there"))).sort(), [a.id, b.id].sort());
  assert.deepEqual(await a.emitWithAck("members", room("here")), []);
});
