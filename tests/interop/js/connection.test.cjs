// Connecting, upgrading, leaving and coming back, as the client sees it. Run once: each scenario chooses its transports.

const assert = require("node:assert/strict");
const { io, Manager } = require("socket.io-client");
const { Fetch } = require("engine.io-client");
const { URL, scenario, pause, next, nextMany, collect, connected, eventually } = require("./harness.cjs");

const BOTH = ["polling", "websocket"];

// Why the server thinks that the socket with this id has left.
async function reasonOnTheServer(connect, id) {
  const observer = await connect();
  return eventually(() => observer.emitWithAck("reason-of", id));
}

scenario("long-polling alone works and stays", async ({ connect }) => {
  const socket = await connect("/", { transports: ["polling"] });
  assert.equal(await socket.emitWithAck("echo", "x"), "x");
  assert.equal(socket.io.engine.transport.name, "polling");
  assert.equal((await socket.emitWithAck("handshake")).query.transport, "polling");
});

scenario("WebSocket alone works", async ({ connect }) => {
  const socket = await connect("/", { transports: ["websocket"] });
  assert.equal(socket.io.engine.transport.name, "websocket");
  assert.equal((await socket.emitWithAck("handshake")).query.transport, "websocket");
});

scenario("a connection opens with polling and upgrades to WebSocket", async ({ open }) => {
  const socket = open("/", { transports: BOTH });
  const names = [];
  socket.io.on("open", () => {
    names.push(socket.io.engine.transport.name);
    socket.io.engine.on("upgrade", (transport) => names.push(transport.name));
  });
  await connected(socket);
  const { id, engineId } = { id: socket.id, engineId: socket.io.engine.id };
  await eventually(() => names.length === 2);
  assert.deepEqual(names, ["polling", "websocket"]);
  assert.equal(await socket.emitWithAck("id"), id);
  assert.equal(socket.io.engine.id, engineId);
});

scenario("a client may decline the upgrade", async ({ connect }) => {
  const socket = await connect("/", { transports: BOTH, upgrade: false });
  for (let turn = 0; turn < 5; turn += 1) await socket.emitWithAck("echo", turn);
  assert.equal(socket.io.engine.transport.name, "polling");
});

scenario("a client that remembers its upgrade starts with WebSocket", async ({ connect }) => {
  const first = await connect("/", { transports: BOTH, rememberUpgrade: true });
  await eventually(() => first.io.engine.transport.name === "websocket");
  const again = await connect("/", { transports: BOTH, rememberUpgrade: true });
  assert.equal(again.io.engine.transport.name, "websocket");
});

scenario("a client may try WebSocket first and polling next", async ({ connect }) => {
  const socket = await connect("/", { transports: ["websocket", "polling"], tryAllTransports: true });
  assert.equal(socket.io.engine.transport.name, "websocket");
});

scenario("a client without binary frames gets its bytes as base64, over both transports", async ({ connect }) => {
  const value = { bytes: [Buffer.from([0, 127, 128, 255]), Buffer.alloc(0)], text: "b64" };
  for (const transports of [["polling"], ["websocket"], BOTH]) {
    const socket = await connect("/", { transports, forceBase64: true });
    socket.on("question", (asked, answer) => answer(asked));
    for (let turn = 0; turn < 5; turn += 1) {
      assert.deepEqual(await socket.emitWithAck("echo", value), value);
      assert.deepEqual(await socket.emitWithAck("ask", value), value);
    }
  }
});

scenario("a client that polls with fetch is like any other", async ({ connect }) => {
  const socket = await connect("/", { transports: [Fetch] });
  const value = { text: "é", bytes: Buffer.from([0, 255]) };
  assert.deepEqual(await socket.emitWithAck("echo", value), value);
  const left = next(socket, "disconnect");
  socket.emit("kick");
  assert.equal((await left)[0], "io server disconnect");
});

scenario("a client that names WebSocket subprotocols gets the first", async ({ connect }) => {
  const socket = await connect("/", { transports: ["websocket"], protocols: ["chat.v2", "chat.v1"] });
  assert.equal(socket.io.engine.transport.ws.protocol, "chat.v2");
  assert.equal(await socket.emitWithAck("echo", 1), 1);
});

scenario("the server announces its heartbeat and its bound", async ({ connect }) => {
  const socket = await connect();
  await eventually(() => socket.io.engine._pingInterval === 400);
  assert.equal(socket.io.engine._maxPayload, 1_000_000);
});

scenario("pings keep an idle connection open, over both transports", async ({ connect }) => {
  const sockets = await Promise.all(BOTH.map((name) => connect("/", { transports: [name] })));
  await Promise.all(sockets.map((socket) => nextMany(socket.io, "ping", 3)));
  assert.ok(sockets.every((socket) => socket.connected));
});

scenario("a socket connects only when told, with autoConnect off", async ({ open }) => {
  const socket = open("/", { autoConnect: false });
  await pause(30);
  assert.equal(socket.active, false);
  assert.equal(socket.id, undefined);
  socket.connect();
  await connected(socket);
});

scenario("namespaces of one address share a connection; the same one twice is two", async ({ keep }) => {
  const options = { transports: BOTH, reconnection: false };
  const [main, plain, again] = ["/", "/plain", "/"].map((name) => keep(io(URL + name, options)));
  assert.equal(main.io, plain.io);
  assert.notEqual(main.io, again.io);
  await Promise.all([main, plain, again].map((socket) => connected(socket)));
  assert.equal(new Set([main.id, plain.id, again.id]).size, 3);
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

scenario("multiplexing can be declined", async ({ keep }) => {
  const options = { transports: BOTH, reconnection: false, multiplex: false };
  const [a, b] = [keep(io(`${URL}/`, options)), keep(io(`${URL}/plain`, options))];
  assert.notEqual(a.io, b.io);
  await Promise.all([connected(a), connected(b)]);
});

scenario("a socket may leave and come back by hand", async ({ connect }) => {
  const socket = await connect();
  const first = socket.id;
  const left = next(socket, "disconnect");
  socket.disconnect();
  assert.deepEqual((await left).slice(0, 1), ["io client disconnect"]);
  assert.equal(socket.id, undefined);
  socket.connect();
  await connected(socket);
  assert.notEqual(socket.id, first);
  assert.ok(!socket.recovered);
  assert.equal(await socket.emitWithAck("echo", 1), 1);
});

scenario("leaving while connecting raises no error", async ({ open }) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = open("/", { transports });
    const errors = collect(socket, "connect_error");
    const connects = collect(socket, "connect");
    socket.disconnect();
    await pause(30);
    assert.deepEqual([errors, connects], [[], []]);
  }
});

scenario("one socket connects while another one leaves", async ({ open }) => {
  for (let turn = 0; turn < 10; turn += 1) {
    const leaving = open();
    await connected(leaving);
    const coming = open();
    leaving.disconnect();
    await connected(coming);
    coming.disconnect();
  }
});

scenario("the server may end one socket; the client does not come back on its own", async ({ connect }) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = await connect("/", { transports, reconnection: true, reconnectionDelay: 10 });
    const { id } = socket;
    socket.emit("kick");
    assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
    assert.equal(socket.active, false);
    assert.equal(await reasonOnTheServer(connect, id), "server namespace disconnect");
    socket.connect();
    await connected(socket);
  }
});

scenario("the server may end one socket and keep its connection", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
  await Promise.all([connected(main), connected(plain)]);
  main.emit("kick");
  assert.equal((await next(main, "disconnect"))[0], "io server disconnect");
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

scenario("the server may end the whole connection", async ({ manager, keep }) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const shared = manager({ transports });
    const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
    await Promise.all([connected(main), connected(plain)]);
    const gone = [main, plain].map((socket) => next(socket, "disconnect"));
    main.emit("kick-out");
    assert.deepEqual((await Promise.all(gone)).map(([reason]) => reason), ["io server disconnect", "io server disconnect"]);
    await eventually(() => shared._readyState === "closed");
  }
});

scenario("a client that leaves a namespace is known to have left it", async ({ connect }) => {
  const socket = await connect("/", { transports: ["websocket"] });
  const { id } = socket;
  socket.disconnect();
  assert.equal(await reasonOnTheServer(connect, id), "client namespace disconnect");
});

scenario("a client that closes its connection is known to have closed it", async ({ connect }) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = await connect("/", { transports });
    const { id } = socket;
    const left = next(socket, "disconnect");
    socket.io.engine.close();
    assert.equal((await left)[0], "forced close");
    assert.equal(await reasonOnTheServer(connect, id), "transport close");
  }
});

scenario("a client that falls silent is known to have timed out", async ({ connect }) => {
  const socket = await connect("/", { transports: ["polling"] });
  const { id } = socket;
  socket.io.engine.transport.removeAllListeners();
  socket.io.engine.removeAllListeners();
  assert.equal(await reasonOnTheServer(connect, id), "ping timeout");
});

scenario("a packet that is none ends the connection for this client alone", async ({ connect }) => {
  for (const [break_, reason] of [
    [(engine) => engine.transport.ws.send("abc"), /^parse error$/],
    [(engine) => engine.write("abc"), /^(parse error|forced close)$/], // Node's own word is the second, its manual's the first
  ]) {
    const [bad, good] = await Promise.all([connect("/", { transports: ["websocket"] }), connect()]);
    const { id } = bad;
    const left = next(bad, "disconnect");
    break_(bad.io.engine);
    assert.match((await left)[0], /^transport (close|error)$/);
    assert.match(await eventually(() => good.emitWithAck("reason-of", id)), reason);
  }
});

scenario("too large a message ends the connection for this client alone", async ({ connect }) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const [large, good] = await Promise.all([connect("/", { transports }), connect()]);
    const left = next(large, "disconnect");
    large.emit("reflect", "x".repeat(1_100_000));
    assert.match((await left)[0], /^transport (close|error)$/);
    assert.equal(await good.emitWithAck("echo", "unharmed"), "unharmed");
  }
});

scenario("a lost connection is reconnected, with a new id", async ({ connect }) => {
  for (const transports of [["polling"], ["websocket"], BOTH]) {
    const socket = await connect("/", { transports, reconnection: true, reconnectionDelay: 10 });
    const first = socket.id;
    const attempts = collect(socket.io, "reconnect_attempt");
    const reconnects = collect(socket.io, "reconnect");
    const back = next(socket, "connect");
    // The client ends an upgrade that is under way, and sends what it has, before it closes.
    await eventually(() => !socket.io.engine.upgrading && !socket.io.engine.writeBuffer.length);
    socket.io.engine.close();
    assert.equal(socket.id, undefined);
    await back;
    assert.notEqual(socket.id, first);
    assert.deepEqual([attempts, reconnects], [[1], [1]]);
  }
});

scenario("after coming back by hand a lost connection is reconnected", async ({ connect }) => {
  const socket = await connect("/", { reconnection: true, reconnectionDelay: 10 });
  socket.disconnect().connect();
  await connected(socket);
  const back = next(socket, "connect");
  socket.io.engine.close();
  await back;
});

scenario("without reconnection a lost connection stays lost", async ({ connect }) => {
  const socket = await connect();
  const left = next(socket, "disconnect");
  socket.io.engine.close();
  await left;
  await pause(100);
  assert.equal(socket.connected, false);
  assert.equal(socket.active, true);
});

scenario("what is sent while away arrives after the reconnection", async ({ connect }) => {
  const socket = await connect("/", { reconnection: true, reconnectionDelay: 20 });
  const heard = collect(socket, "reflected");
  socket.io.engine.close();
  for (const number of [1, 2, 3]) socket.emit("reflect", number);
  await next(socket, "connect");
  await socket.emitWithAck("echo");
  assert.deepEqual(heard, [1, 2, 3]);
});

scenario("an attempt that times out is tried as often as asked", async ({ keep }) => {
  const manager = new Manager(URL, { timeout: 0, reconnectionAttempts: 2, reconnectionDelay: 10 });
  const socket = keep(manager.socket("/"));
  const attempts = collect(manager, "reconnect_attempt");
  const errors = collect(manager, "reconnect_error");
  await next(manager, "reconnect_failed");
  assert.deepEqual(attempts, [1, 2]);
  assert.deepEqual(errors.map((error) => error.message), ["timeout", "timeout"]);
  assert.equal(socket.connected, false);
  manager._close();
});

scenario("a closed manager stops trying, and starts again when told", async ({ keep }) => {
  const manager = new Manager(URL, { timeout: 0, reconnectionDelay: 10 });
  const socket = keep(manager.socket("/"));
  await next(manager, "reconnect_error");
  socket.disconnect();
  const attempts = collect(manager, "reconnect_attempt");
  await pause(100);
  assert.deepEqual(attempts, []);
  manager.timeout(5000);
  socket.connect();
  await connected(socket);
});

scenario("one socket of a manager gives up, the other is reconnected", async ({ keep }) => {
  const manager = new Manager(URL, { reconnectionDelay: 10 });
  const [main, plain] = ["/", "/plain"].map((name) => keep(manager.socket(name)));
  await Promise.all([connected(main), connected(plain)]);
  const back = next(plain, "connect");
  manager.engine.close();
  main.disconnect();
  await back;
  assert.equal(await plain.emitWithAck("where"), "/plain");
  assert.equal(main.connected, false);
});

scenario("many sockets come and go at once", async ({ open }) => {
  for (let turn = 0; turn < 3; turn += 1) {
    const sockets = Array.from({ length: 40 }, (_, number) => open("/", { transports: number % 2 ? BOTH : ["websocket"] }));
    await Promise.all(sockets.map((socket) => connected(socket)));
    assert.deepEqual(await Promise.all(sockets.map((socket) => socket.emitWithAck("id"))), sockets.map((socket) => socket.id));
    for (const socket of sockets) socket.disconnect();
  }
});

scenario("nothing is left in the server's rooms by those who left", async ({ connect }) => {
  const observer = await connect();
  const room = `left-${process.pid}`;
  const sockets = await Promise.all(Array.from({ length: 10 }, () => connect()));
  await Promise.all(sockets.map((socket) => socket.emitWithAck("join", room)));
  assert.equal((await observer.emitWithAck("members", room)).length, 10);
  for (const [number, socket] of sockets.entries()) number % 2 ? socket.disconnect() : socket.io.engine.close();
  await eventually(async () => (await observer.emitWithAck("members", room)).length === 0);
});

scenario("reserved events are the client's own affair", async ({ connect }) => {
  const socket = await connect();
  for (const event of ["connect", "connect_error", "disconnect", "disconnecting"]) {
    assert.throws(() => socket.emit(event), /reserved event name/);
  }
});
