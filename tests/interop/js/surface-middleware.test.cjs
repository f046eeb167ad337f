// A server behind ASGI middleware, which takes the place of Node's `io.engine.use`: it sees every request and every WebSocket.

const assert = require("node:assert/strict");
const { URL, scenario, next, connected } = require("./harness.cjs");

const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];

scenario("ASGI middleware lets those in whom it allows", async ({ connect }) => {
  for (const transports of TRANSPORTS) {
    const socket = await connect("/", { transports, query: { word: "friend" } });
    assert.deepEqual(await socket.emitWithAck("echo", transports), transports);
  }
});

scenario("ASGI middleware refuses requests and WebSockets", async ({ open }) => {
  for (const [transports, status] of [[["polling"], /401/], [["websocket"], /403/]]) {
    const [error] = await next(open("/", { transports, query: { word: "foe" } }), "connect_error");
    assert.match(String(error.context?.status ?? error.description?.message), status);
  }
});

scenario("ASGI middleware adds headers to responses and to the WebSocket's handshake", async ({ open }) => {
  const answer = await fetch(`${URL}/socket.io/?EIO=4&transport=polling&word=friend`);
  assert.deepEqual([answer.status, answer.headers.get("x-guard")], [200, "passed"]);
  const socket = open("/", { transports: ["websocket"], query: { word: "friend" } });
  const headers = new Promise((resolve) => {
    socket.io.engine.transport.ws.on("upgrade", (response) => resolve(response.headers));
  });
  await connected(socket);
  assert.equal((await headers)["x-guard"], "passed");
});
