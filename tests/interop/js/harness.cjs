// What the scripts beside this file share: scenarios with a deadline, clients that are closed when theirs ends, and waiting.
// It knows the official client and where the server is; it knows nothing of the server behind.

const test = require("node:test");
const { io, Manager } = require(process.env.SHOAL_TEST_CLIENT || "socket.io-client"); // an older one, perhaps

const URL = process.env.SHOAL_TEST_URL;
const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
const transports = TRANSPORTS[process.env.SHOAL_TEST_TRANSPORT || "upgrade"];
// With another parser the same scenarios run over another wire.
const parser = process.env.SHOAL_TEST_PARSER === "msgpack" ? { parser: require("socket.io-msgpack-parser") } : {};
const PATIENCE = 10_000; // ms: longer than any answer takes on a loaded machine
const FINAL = { timeout: 45_000 };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The arguments of the next `event`, as an array.
function next(emitter, event, ms = PATIENCE) {
  return new Promise((resolve, reject) => {
    const heard = (...args) => {
      clearTimeout(timer);
      resolve(args);
    };
    const timer = setTimeout(() => {
      emitter.off(event, heard);
      reject(new Error(`no "${event}" within ${ms} ms`));
    }, ms);
    emitter.once(event, heard);
  });
}

// The arguments of the next `count` occurrences of `event`, in the order they came. Listens from the call on.
function nextMany(emitter, event, count, ms = PATIENCE) {
  return new Promise((resolve, reject) => {
    const all = [];
    const heard = (...args) => {
      all.push(args);
      if (all.length === count) finish(resolve, all);
    };
    const finish = (settle, value) => {
      clearTimeout(timer);
      emitter.off(event, heard);
      settle(value);
    };
    const timer = setTimeout(() => finish(reject, new Error(`${all.length} of ${count} "${event}" in ${ms} ms`)), ms);
    emitter.on(event, heard);
  });
}

// Everything that `event` brings from now on.
function collect(emitter, event) {
  const all = [];
  emitter.on(event, (...args) => all.push(args.length > 1 ? args : args[0]));
  return all;
}

// Return once `check` gives something true; that value.
async function eventually(check, ms = PATIENCE) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`did not come true within ${ms} ms: ${check}`);
    await pause(10);
  }
}

// The tools of one scenario. `close` ends what they opened.
function toolbox() {
  const opened = [];
  const keep = (socket) => (opened.push(socket), socket);
  const tools = {
    // A socket on a connection of its own, perhaps not yet connected. It does not reconnect unless told to.
    open: (namespace = "/", options = {}) =>
      keep(io(URL + namespace, { transports, forceNew: true, reconnection: false, ...parser, ...options })),
    // The same, connected.
    connect: async (namespace, options) => {
      const socket = tools.open(namespace, options);
      await connected(socket);
      return socket;
    },
    // A manager; the sockets it gives are ended with the scenario.
    manager: (options = {}, url = URL) => {
      const manager = new Manager(url, { transports, reconnection: false, ...parser, ...options });
      opened.push({ disconnect: () => manager._close() });
      return manager;
    },
    keep,
    close: async () => {
      for (const socket of opened) socket.disconnect();
      await pause(5); // lets the last packets leave before the process may end
    },
  };
  return tools;
}

// Return once the socket is connected; its connect_error is thrown.
function connected(socket, ms = PATIENCE) {
  if (socket.connected) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not connected within ${ms} ms`)), ms);
    socket.once("connect", () => (clearTimeout(timer), resolve()));
    socket.once("connect_error", (error) => (clearTimeout(timer), reject(error)));
  });
}

function scenario(name, body, options = {}) {
  test(name, { ...FINAL, ...options }, async () => {
    const tools = toolbox();
    try {
      await body(tools);
    } finally {
      await tools.close();
    }
  });
}

// A scenario about JSON's way with values; the msgpack parser's differs.
const jsonOnly = (name, body) => scenario(name, body, { skip: parser.parser ? "is not about msgpack" : false });

// A scenario that asks more of us than of the reference, and what the reference does instead.
const stricter = (name, instead, body) => scenario(name, body, { skip: process.env.SHOAL_TEST_REFERENCE ? instead : false });

module.exports = { URL, transports, PATIENCE, scenario, stricter, jsonOnly, pause, next, nextMany, collect, connected, eventually };
