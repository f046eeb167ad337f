// What is particular to the official msgpack parser: dates, bytes without placeholders, numbers. The other scripts run with it too.

const assert = require("node:assert/strict");
const { Encoder } = require("socket.io-msgpack-parser");
const { scenario, next, connected, eventually } = require("./harness.cjs");

const WS = { transports: ["websocket"] };

scenario("events and acks go both ways, binary among them", async ({ connect }) => {
  const socket = await connect("/", WS);
  const values = [1, -1, 1.5, 2 ** 40, "é€𝄞", true, null, [[]], { a: { b: [Buffer.from([0, 255])] } }, Buffer.from("x")];
  assert.deepEqual(await new Promise((resolve) => socket.emit("echo", ...values, (...answer) => resolve(answer))), values);
  const answer = next(socket, "message");
  socket.emit("send", ...values);
  assert.deepEqual(await answer, values);
});

scenario("the server calls and the client answers with bytes", async ({ connect }) => {
  const socket = await connect("/", WS);
  await socket.emitWithAck("join", `msgpack ${socket.id}`);
  socket.on("question", (what, answer) => answer({ what, bytes: Buffer.from([1, 2, 3]) }));
  const { responses } = await socket.emitWithAck("call-one", `msgpack ${socket.id}`);
  assert.deepEqual(responses, [{ what: "?", bytes: Buffer.from([1, 2, 3]) }]);
});

scenario("dates arrive as ISO 8601 text, and leave as dates", async ({ connect }) => {
  const socket = await connect("/", WS);
  for (const text of ["2020-01-02T03:04:05.678Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z"]) {
    assert.equal(await socket.emitWithAck("echo", new Date(text)), text);
  }
  assert.equal(await socket.emitWithAck("echo", new Date(8.64e15)), null); // no year of Python's
  assert.deepEqual(await socket.emitWithAck("now"), new Date("2020-01-02T03:04:05.678Z"));
  const { naive, day, struct } = await socket.emitWithAck("values");
  assert.deepEqual([naive, day, struct], [new Date("2020-01-02T03:04:05.000Z"), "2020-01-02", { item: "tea", count: 2 }]);
});

scenario("undefined arrives as nothing, array buffers as bytes", async ({ connect }) => {
  const socket = await connect("/", WS);
  const buffers = [0, 1, 3, 8, 300].map((length) => Buffer.alloc(length, 7));
  const views = buffers.map((buffer) => new Uint8Array(buffer));
  const args = [[undefined], ...views, ...views.map((view) => view.buffer)];
  const answer = await new Promise((resolve) => socket.emit("echo", ...args, (...all) => resolve(all)));
  assert.deepEqual(answer, [[null], ...buffers, ...buffers]);
});

scenario("a broadcast over namespaces stays in its own", async ({ manager, keep }) => {
  const shared = manager(WS);
  const [main, chat] = ["/", "/chat"].map((name) => keep(shared.socket(name)));
  await Promise.all([connected(main), next(chat, "welcome")]);
  const said = next(chat, "chat-message");
  assert.equal(await chat.emitWithAck("chat-message", "hello"), 5);
  assert.deepEqual(await said, ["hello"]);
});

scenario("a refusal carries its message", async ({ open }) => {
  const [error] = await next(open("/nowhere", WS), "connect_error");
  assert.equal(error.message, "Invalid namespace");
});

scenario("what is no packet ends the connection for its sender alone", async ({ connect }) => {
  const [good, ...bad] = await Promise.all(Array.from({ length: 6 }, () => connect("/", WS)));
  const encoder = new Encoder();
  const deep = Array.from({ length: 100 }).reduce((inner) => [inner], 1);
  const packets = [
    Buffer.from([0xc1]),
    Buffer.from("nonsense"),
    encoder.encode({ type: 9, nsp: "/", data: ["echo"] })[0],
    encoder.encode({ type: 2, nsp: "/", data: "echo" })[0],
    encoder.encode({ type: 2, nsp: "/", data: ["echo", deep] })[0],
  ];
  for (const [number, socket] of bad.entries()) {
    const { id } = socket;
    socket.io.engine.write(packets[number]);
    await eventually(async () => (await good.emitWithAck("gone", id)).length === 2);
    assert.equal((await good.emitWithAck("gone", id))[1][1], "parse error");
  }
  assert.equal(await good.emitWithAck("echo", "unharmed"), "unharmed");
});
