// A server that dies, stops or freezes under connected clients. Run once: it starts the server itself, from SHOAL_TEST_COMMAND.

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { resolve } = require("node:path");
const { URL, scenario, next, collect, connected, eventually } = require("./harness.cjs");

const [program, ...args] = JSON.parse(process.env.SHOAL_TEST_COMMAND);
const EVERY = [["polling"], ["websocket"], ["polling", "websocket"]];
const WILL_RETURN = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };

// The server as a process; `signal` sends it one, `gone` is its exit code or signal once it has ended.
async function start() {
  const child = spawn(program, args, { cwd: resolve(__dirname, "../../.."), stdio: "ignore" });
  const gone = new Promise((settle) => child.once("exit", (code, signal) => settle(code ?? signal)));
  await eventually(() => fetch(`${URL}/socket.io/?EIO=4&transport=polling`).then(({ ok }) => ok, () => false), 30_000);
  return { gone, signal: (name) => child.kill(name) };
}

async function stopped(server, signal) {
  server.signal(signal);
  return server.gone;
}

scenario("a client waits for a server that is not there yet", async ({ open }) => {
  const socket = open("/", WILL_RETURN);
  const errors = collect(socket, "connect_error");
  socket.emit("reflect", "patience");
  const reflected = next(socket, "reflected", 30_000);
  await eventually(() => errors.length > 1);
  const server = await start();
  try {
    assert.deepEqual(await reflected, ["patience"]);
  } finally {
    await stopped(server, "SIGKILL");
  }
});

scenario("clients come back to a server that was killed and started again", async ({ connect }) => {
  let server = await start();
  try {
    const sockets = await Promise.all(EVERY.map((transports) => connect("/", { ...WILL_RETURN, transports })));
    await eventually(() => sockets[2].io.engine.transport.name === "websocket");
    const first = sockets.map((socket) => socket.id);
    const heard = sockets.map((socket) => collect(socket, "reflected"));
    const reasons = Promise.all(sockets.map((socket) => next(socket, "disconnect")));
    await stopped(server, "SIGKILL");
    assert.deepEqual((await reasons).map(([reason]) => reason), ["transport error", "transport close", "transport close"]);
    for (const socket of sockets) for (const number of [1, 2, 3]) socket.emit("reflect", number);
    server = await start();
    await Promise.all(sockets.map((socket) => connected(socket).catch(() => next(socket, "connect"))));
    await eventually(() => heard.every((numbers) => numbers.length >= 3));
    assert.deepEqual(heard, [[1, 2, 3], [1, 2, 3], [1, 2, 3]]);
    assert.equal(new Set([...first, ...sockets.map((socket) => socket.id)]).size, 6);
  } finally {
    await stopped(server, "SIGKILL");
  }
});

scenario("a server that is told to stop ends soon, and its clients come back on their own", async ({ connect }) => {
  let server = await start();
  try {
    const sockets = await Promise.all(EVERY.map((transports) => connect("/", { ...WILL_RETURN, transports })));
    // In the middle of an upgrade one client in some hundreds hears of the end by its ping timeout alone.
    await eventually(() => sockets[2].io.engine.transport.name === "websocket");
    const left = Promise.all(sockets.map((socket) => next(socket, "disconnect")));
    const began = Date.now();
    assert.ok([0, "SIGTERM"].includes(await stopped(server, "SIGTERM"))); // uvicorn raises the signal again at its end
    assert.ok(Date.now() - began < 8000, `it took ${Date.now() - began} ms`);
    for (const [reason] of await left) assert.match(reason, /^transport (close|error)$/);
    server = await start();
    await Promise.all(sockets.map((socket) => connected(socket).catch(() => next(socket, "connect"))));
    const answers = sockets.map((socket) => socket.timeout(5000).emitWithAck("echo", "back"));
    assert.deepEqual(await Promise.all(answers), ["back", "back", "back"]);
  } finally {
    await stopped(server, "SIGKILL");
  }
});

scenario("a server that freezes is noticed, and met again when it thaws", async ({ connect }) => {
  const server = await start();
  try {
    const sockets = await Promise.all(EVERY.map((transports) => connect("/", { ...WILL_RETURN, transports })));
    const left = Promise.all(sockets.map((socket) => next(socket, "disconnect")));
    server.signal("SIGSTOP");
    for (const [reason] of await left) assert.equal(reason, "ping timeout");
    server.signal("SIGCONT");
    await Promise.all(sockets.map((socket) => connected(socket).catch(() => next(socket, "connect"))));
    const answers = sockets.map((socket) => socket.timeout(5000).emitWithAck("echo", "back"));
    assert.deepEqual(await Promise.all(answers), ["back", "back", "back"]);
  } finally {
    await stopped(server, "SIGKILL");
  }
});
