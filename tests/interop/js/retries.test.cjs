// The client's own retries: at-least-once towards the server. Run over every transport.

const assert = require("node:assert/strict");
const { scenario, collect, connected, eventually } = require("./harness.cjs");

const key = (name) => `${name}-${process.pid}-${process.env.SHOAL_TEST_TRANSPORT}`;

scenario("acknowledged events arrive once each, in order", async ({ connect }) => {
  const socket = await connect("/", { retries: 3, ackTimeout: 5000 });
  const heard = collect(socket, "reflected");
  for (const number of [1, 2, 3]) socket.emit("reflect", number);
  assert.deepEqual(await socket.emitWithAck("echo", "last"), "last");
  assert.deepEqual(heard, [1, 2, 3]);
});

scenario("an event is sent again until it is acknowledged", async ({ connect }) => {
  const socket = await connect("/", { retries: 3, ackTimeout: 100 });
  assert.equal(await socket.emitWithAck("third-time", key("third")), 3);
});

scenario("the next event waits for the one before it", async ({ connect }) => {
  const socket = await connect("/", { retries: 5, ackTimeout: 100 });
  const done = [];
  const first = socket.emitWithAck("third-time", key("wait")).then(() => done.push("first"));
  const second = socket.emitWithAck("echo", 2).then(() => done.push("second"));
  await Promise.all([first, second]);
  assert.deepEqual(done, ["first", "second"]);
});

scenario("an event that is never acknowledged fails after the last retry", async ({ connect }) => {
  const socket = await connect("/", { retries: 2, ackTimeout: 30 });
  await assert.rejects(socket.emitWithAck("never"), /timed out/);
  assert.equal(await socket.emitWithAck("echo", "next"), "next");
});

scenario("events queued before the connection are sent after it", async ({ open }) => {
  const socket = open("/", { retries: 3, ackTimeout: 5000, autoConnect: false });
  const answers = [1, 2, 3].map((number) => socket.emitWithAck("echo", number));
  socket.connect();
  await connected(socket);
  assert.deepEqual(await Promise.all(answers), [1, 2, 3]);
});

scenario("events outlive a reconnection", async ({ connect }) => {
  const socket = await connect("/", { retries: 3, ackTimeout: 5000, reconnection: true, reconnectionDelay: 10 });
  const heard = collect(socket, "reflected");
  socket.io.engine.close();
  for (const number of [1, 2, 3]) socket.emit("reflect", number);
  await eventually(() => heard.length >= 3);
  assert.deepEqual(heard, [1, 2, 3]);
});
