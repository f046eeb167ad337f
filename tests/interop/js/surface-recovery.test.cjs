// Connection state recovery: what a client finds that lost its connection and comes back by itself. Run over the fast lane and
// plain ASGI.

const assert = require("node:assert/strict");
const { scenario, pause, next, collect, eventually } = require("./harness.cjs");

const EVERY = [["polling"], ["websocket"], ["polling", "websocket"]];
const RETURNS = { reconnection: true, reconnectionDelay: 150, randomizationFactor: 0 };

// The client's own test of this feature, with its words.
scenario("a client that lost its connection comes back to its id, and knows it", async ({ connect }) => {
  for (const transports of EVERY) {
    const socket = await connect("/", { ...RETURNS, transports });
    assert.equal(socket.recovered, false);
    socket.emit("send", "the first event brings an offset");
    await next(socket, "message");
    const { id } = socket;
    socket.io.engine.close();
    await next(socket, "connect");
    assert.equal(socket.id, id);
    assert.equal(socket.recovered, true);
  }
});

scenario("it finds its rooms and data, and the server sees that it has recovered", async ({ connect }) => {
  const socket = await connect("/", RETURNS);
  await socket.emitWithAck("join", "front", "middle");
  await socket.emitWithAck("leave", "middle");
  await socket.emitWithAck("remember", { name: "Anna" });
  socket.io.engine.close();
  await next(socket, "connect");
  const seen = await socket.emitWithAck("describe");
  assert.equal(seen.recovered, true);
  assert.equal(seen.id, socket.id);
  assert.deepEqual(seen.rooms, [socket.id, "front", "hall"].sort());
  assert.equal(seen.data.name, "Anna");
});

scenario("what was said meanwhile comes once and in order, to whom it was for", async ({ connect }) => {
  const speaker = await connect("/", {});
  for (const transports of EVERY) {
    const room = `room ${transports} ${Math.random()}`;
    const socket = await connect("/", { ...RETURNS, transports });
    await socket.emitWithAck("join", room);
    const said = collect(socket, "said");
    const { id } = socket;
    await speaker.emitWithAck("say", "all", [room], [], "before");
    await eventually(() => said.length === 1);
    socket.io.engine.close();
    await speaker.emitWithAck("say", "all", [room], [], 1);
    await speaker.emitWithAck("say", "all", [id], [], 2, Buffer.from("x"));
    await speaker.emitWithAck("say", "all", [room], [id], "not to it");
    await speaker.emitWithAck("say", "all", ["another room"], [], "not there");
    await speaker.emitWithAck("say", "volatile", [room], [], "volatile");
    await speaker.emitWithAck("say", "others", [room], [], 3);
    await next(socket, "connect");
    await speaker.emitWithAck("say", "all", [room], [], "after");
    await eventually(() => said.length >= 5);
    await pause(50);
    // The last argument of each is its offset: the client leaves it there.
    assert.deepEqual(said.map((args) => args.slice(0, -1)), [["before"], [1], [2, Buffer.from("x")], [3], ["after"]]);
    const offsets = said.map((args) => Number(args.at(-1).split(".")[1]));
    assert.deepEqual(offsets, [...new Set(offsets)].sort((one, other) => one - other));
  }
});

scenario("each namespace of a connection comes back to its own state", async ({ manager }) => {
  const connection = manager({ ...RETURNS, transports: ["websocket"] });
  const sockets = [connection.socket("/"), connection.socket("/tenant-1"), connection.socket("/chat")];
  await Promise.all(sockets.map((socket) => next(socket, "connect")));
  const ids = sockets.map((socket) => socket.id);
  connection.engine.close();
  await Promise.all(sockets.map((socket) => next(socket, "connect")));
  assert.deepEqual(sockets.map((socket) => [socket.id, socket.recovered]), ids.map((id) => [id, true]));
});

scenario("middleware is not asked again about a client that has recovered", async ({ connect }) => {
  const socket = await connect("/", RETURNS);
  const asked = async () => (await socket.emitWithAck("noted", "asked")).filter((id) => id === socket.id).length;
  assert.equal(await asked(), 1);
  socket.io.engine.close();
  await next(socket, "connect");
  assert.equal(socket.recovered, true);
  assert.equal(await asked(), 1);
});

scenario("who stayed away for too long begins anew", async ({ connect }) => {
  const socket = await connect("/", { ...RETURNS, reconnectionDelay: 1_500 });
  const { id } = socket;
  socket.io.engine.close();
  await next(socket, "connect");
  assert.equal(socket.recovered, false);
  assert.notEqual(socket.id, id);
  assert.deepEqual((await socket.emitWithAck("describe")).rooms, [socket.id, "hall"].sort());
});

scenario("who left, or was sent away, begins anew", async ({ connect }) => {
  for (const leave of [(socket) => socket.disconnect(), (socket) => socket.emit("kick", false)]) {
    const socket = await connect("/", RETURNS);
    const { id } = socket;
    const left = next(socket, "disconnect");
    leave(socket);
    await left;
    socket.connect();
    await next(socket, "connect");
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
  }
});
