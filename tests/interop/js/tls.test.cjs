// The client over TLS, with a certificate that it is told not to check. Run over every transport.

const assert = require("node:assert/strict");
const { scenario, next, connected, eventually } = require("./harness.cjs");

const UNCHECKED = { rejectUnauthorized: false };

scenario("events, acks and bytes go through TLS", async ({ connect }) => {
  const socket = await connect("/", UNCHECKED);
  const value = { text: "é".repeat(50_000), bytes: Buffer.alloc(100_000, "x") };
  socket.emit("reflect", value);
  assert.deepEqual(await next(socket, "reflected"), [value]);
  assert.deepEqual(await socket.emitWithAck("echo", value), value);
});

scenario("a connection upgrades, ends and comes back through TLS", async ({ open }) => {
  const socket = open("/", { ...UNCHECKED, transports: ["polling", "websocket"] });
  await connected(socket);
  await eventually(() => socket.io.engine.transport.name === "websocket");
  socket.emit("kick");
  assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
  socket.connect();
  await connected(socket);
  assert.equal(await socket.emitWithAck("echo", "again"), "again");
});

scenario("a client that checks the certificate refuses it", async ({ open }) => {
  const socket = open("/", { rejectUnauthorized: true });
  const [error] = await next(socket, "connect_error");
  assert.ok(error instanceof Error);
  assert.equal(socket.connected, false);
});
