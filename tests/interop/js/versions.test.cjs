// What any version of the client can do, from 3.0 on: so there is no emitWithAck here, and no timeout().

const assert = require("node:assert/strict");
const { scenario, next, nextMany, collect, connected, eventually } = require("./harness.cjs");

const call = (socket, ...args) => new Promise((resolve) => socket.emit(...args, resolve));

scenario("it connects with its defaults, and upgrades to WebSocket", async ({ connect }) => {
  const socket = await connect("/", { transports: undefined });
  await eventually(() => socket.io.engine.transport.name === "websocket");
  assert.deepEqual(await call(socket, "echo", ["after"]), ["after"]);
});

for (const transport of ["polling", "websocket"]) {
  scenario(`values, binary ones too, come back in an ack over ${transport}`, async ({ connect }) => {
    const socket = await connect("/", { transports: [transport] });
    const values = [1, "ü", null, { a: [true, Buffer.from([0, 255])] }, Buffer.from("whole")];
    assert.deepEqual(await call(socket, "echo", values), values);
    assert.equal(socket.io.engine.transport.name, transport);
  });

  scenario(`events arrive once and in order over ${transport}`, async ({ connect }) => {
    const socket = await connect("/", { transports: [transport] });
    const all = nextMany(socket, "reflected", 200);
    for (let number = 0; number < 200; number++) socket.emit("reflect", number);
    assert.deepEqual(await all, Array.from({ length: 200 }, (_, number) => [number]));
  });
}

scenario("the server calls and the client answers", async ({ connect }) => {
  const socket = await connect();
  socket.on("question", (text, bytes, answer) => answer({ text, bytes }));
  assert.deepEqual(await call(socket, "ask", "x", Buffer.from("y")), { text: "x", bytes: Buffer.from("y") });
});

scenario("a room's members hear it, all of them or the others, and nobody else", async ({ connect }) => {
  const [one, two, outside] = [await connect(), await connect(), await connect()];
  const room = `room of ${one.id}`; // other versions are here meanwhile
  const heard = [one, two, outside].map((socket) => collect(socket, "said"));
  for (const socket of [one, two]) await call(socket, "join", room);
  await call(one, "tell", [room], "to all");
  await call(one, "tell-others", room, "to others");
  for (const socket of [one, two, outside]) await call(socket, "echo", "done");
  assert.deepEqual(heard, [["to all"], ["to all", "to others"], []]);
});

scenario("a namespace lets the right token in, and refuses others with message and data", async ({ open }) => {
  const wrong = open("/secret", { auth: { token: "guess" } });
  const [error] = await next(wrong, "connect_error");
  assert.equal(error.message, "not authorized");
  assert.deepEqual(error.data, { retry: false });
  const right = open("/secret", { auth: { token: "secret" } });
  await connected(right);
  assert.equal(await call(right, "where"), "/secret");
});

scenario("it stays through some heartbeats, and comes back when its connection is lost", async ({ connect }) => {
  const socket = await connect("/", { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 });
  let pings = 0;
  socket.io.engine.on("packet", ({ type }) => (pings += type === "ping"));
  await eventually(() => pings >= 2);
  const before = socket.id;
  const back = next(socket, "connect");
  socket.io.engine.close();
  await back;
  assert.notEqual(socket.id, before);
  assert.deepEqual(await call(socket, "echo", ["back"]), ["back"]);
});

scenario("it is told when the server ends it", async ({ connect }) => {
  const socket = await connect();
  const end = next(socket, "disconnect");
  socket.emit("kick");
  assert.equal((await end)[0], "io server disconnect");
});
