// The options of a server. Three servers stand here: one with all that can be turned on or made small, at another path;
// one for WebSockets alone; one without upgrades, for pages of its own origin. What they differ from is the default.

const assert = require("node:assert/strict");
const { Fetch } = require("engine.io-client");
const { Manager } = require("socket.io-client");
const WebSocket = require("ws");
const { URL, scenario, next, nextMany, connected, eventually } = require("./harness.cjs");

const WS_ONLY = process.env.SHOAL_TEST_WEBSOCKET_ONLY;
const NO_UPGRADES = process.env.SHOAL_TEST_NO_UPGRADES;
const DEFAULT = process.env.SHOAL_TEST_DEFAULT;
const WS = { transports: ["websocket"], path: "/live" };
const POLL = { transports: ["polling"], path: "/live" };
const ALLOWED = "https://a.example";
const HANDSHAKE = "/?EIO=4&transport=polling";

// A connection to one of the other servers, kept by the scenario.
function elsewhere({ manager, keep }, url, options) {
  return keep(manager({ transports: ["websocket"], ...options }, url).socket("/"));
}

const reason = (observer, id) =>
  eventually(async () => (await observer.emitWithAck("gone", id)).find(([what]) => what === "disconnect")?.[1]);

scenario("path moves the endpoint, and leaves nothing where it was", async ({ connect, open }) => {
  for (const options of [WS, POLL, { ...POLL, path: "/live/" }]) await connect("/", options);
  for (const options of [WS, POLL]) await next(open("/", { ...options, path: "/socket.io" }), "connect_error");
});

scenario("cookie gives the client its session's id", async ({ connect }) => {
  const answer = await fetch(`${URL}/live${HANDSHAKE}`);
  const { sid } = JSON.parse((await answer.text()).slice(1));
  assert.equal(answer.headers.get("set-cookie"), `where=${sid}; Path=/; HttpOnly; SameSite=Lax`);
  const socket = await connect("/", { ...POLL, withCredentials: true });
  assert.equal(socket.io.engine._cookieJar._cookies.get("where").value, socket.io.engine.id);
  const without = await fetch(`${DEFAULT}/socket.io${HANDSHAKE}`);
  assert.equal(without.headers.get("set-cookie"), null);
});

scenario("cors_origins names who may come: pages by header, WebSockets by refusal", async ({ connect, open }) => {
  for (const origin of [ALLOWED, "https://b.example"]) {
    await connect("/", { ...WS, extraHeaders: { origin } });
    const answer = await fetch(`${URL}/live${HANDSHAKE}`, { headers: { origin } });
    assert.equal(answer.headers.get("access-control-allow-origin"), origin);
    assert.match(answer.headers.get("vary"), /origin/i);
  }
  const foreign = { origin: "https://foreign.example" };
  const [error] = await next(open("/", { ...WS, extraHeaders: foreign }), "connect_error");
  assert.match(String(error.description?.message), /403/);
  const answer = await fetch(`${URL}/live${HANDSHAKE}`, { headers: foreign });
  assert.equal(answer.headers.get("access-control-allow-origin"), null);
});

scenario("cors_credentials, cors_headers and cors_max_age tell the browser what it may do", async () => {
  const asked = { origin: ALLOWED, "access-control-request-headers": "x-two", "access-control-request-method": "POST" };
  const answer = await fetch(`${URL}/live${HANDSHAKE}`, { method: "OPTIONS", headers: asked });
  const told = ["origin", "credentials", "headers"].map((name) => answer.headers.get(`access-control-allow-${name}`));
  assert.deepEqual(told, [ALLOWED, "true", "x-one"]);
  assert.equal(answer.headers.get("access-control-max-age"), "7");
  assert.match(answer.headers.get("access-control-allow-methods"), /POST/);
});

scenario("without cors_origins pages of the server's own origin may come alone", async (tools) => {
  const own = elsewhere(tools, NO_UPGRADES, { extraHeaders: { origin: NO_UPGRADES } });
  await connected(own);
  const foreign = elsewhere(tools, NO_UPGRADES, { extraHeaders: { origin: ALLOWED } });
  assert.match(String((await next(foreign, "connect_error"))[0].description?.message), /403/);
  const answer = await fetch(`${NO_UPGRADES}/socket.io${HANDSHAKE}`, { headers: { origin: ALLOWED } });
  assert.equal(answer.headers.get("access-control-allow-origin"), null);
});

scenario("by default every origin may come", async (tools) => {
  await connected(elsewhere(tools, DEFAULT, { extraHeaders: { origin: ALLOWED } }));
  const answer = await fetch(`${DEFAULT}/socket.io${HANDSHAKE}`, { headers: { origin: ALLOWED } });
  assert.equal(answer.headers.get("access-control-allow-origin"), "*");
});

// Polling with `fetch`; the encoding and the text of every answer to a poll are put into `seen`.
const watched = (seen) =>
  class extends Fetch {
    async _fetch(data) {
      const answer = await super._fetch(data);
      if (data === undefined) seen.push([answer.headers.get("content-encoding"), await answer.clone().text()]);
      return answer;
    }
  };

scenario("http_compression packs large answers to polls", async (tools) => {
  const text = "x".repeat(5_000);
  const [packed, plain] = [[], []];
  const one = await tools.connect("/", { ...POLL, transports: [watched(packed)] });
  const other = elsewhere(tools, DEFAULT, { transports: [watched(plain)] });
  for (const socket of [one, other]) assert.equal(await socket.emitWithAck("echo", text), text);
  const encodings = (seen, large) => [...new Set(seen.filter((each) => each[1].length > 1_024 === large).map(([how]) => how))];
  assert.deepEqual([encodings(packed, true), encodings(packed, false)], [["gzip"], [null]]);
  assert.deepEqual(encodings(plain, true), [null]);
});

scenario("per_message_deflate packs a WebSocket's messages, for those who take it", async (tools) => {
  const text = "x".repeat(5_000);
  const takes = { perMessageDeflate: { threshold: 0 } };
  const socket = await tools.connect("/", { ...WS, ...takes });
  assert.match(socket.io.engine.transport.ws.extensions, /permessage-deflate/);
  const { _socket: below } = socket.io.engine.transport.ws;
  const before = below.bytesRead;
  assert.equal(await socket.emitWithAck("echo", text), text);
  assert.ok(below.bytesRead - before < 1_000, `${below.bytesRead - before} bytes`);
  if (process.env.SHOAL_TEST_LANE === "fastlane") {
    const plain = elsewhere(tools, DEFAULT, takes);
    await connected(plain);
    assert.equal(plain.io.engine.transport.ws.extensions, "");
  }
});

scenario("transports without polling refuse it, and take WebSockets", async (tools) => {
  const socket = elsewhere(tools, WS_ONLY);
  await connected(socket);
  assert.equal(await socket.emitWithAck("echo", 1), 1);
  const [error] = await next(elsewhere(tools, WS_ONLY, { transports: ["polling"] }), "connect_error");
  assert.equal(error.context.status, 400);
  const answer = await fetch(`${WS_ONLY}/socket.io${HANDSHAKE}`);
  assert.deepEqual(await answer.json(), { code: 0, message: "Transport unknown" });
});

scenario("allow_upgrades off keeps a client on polling", async (tools) => {
  const socket = elsewhere(tools, NO_UPGRADES, { transports: ["polling", "websocket"] });
  const [{ upgrades }] = await next(socket.io.engine, "handshake");
  assert.deepEqual(upgrades, []);
  await connected(socket);
  await nextMany(socket.io, "ping", 2);
  assert.equal(socket.io.engine.transport.name, "polling");
  assert.equal((await socket.emitWithAck("describe")).transport, "polling");
});

scenario("upgrade_timeout closes a WebSocket that does not finish its upgrade", async ({ connect }) => {
  const socket = await connect("/", POLL);
  const probe = new WebSocket(`${URL.replace("http", "ws")}/live/?EIO=4&transport=websocket&sid=${socket.io.engine.id}`);
  await next(probe, "open");
  const [answer, closed] = [next(probe, "message"), next(probe, "close")];
  const began = Date.now();
  probe.send("2probe");
  assert.equal(String((await answer)[0]), "3probe");
  await closed;
  const took = Date.now() - began;
  assert.ok(took > 200 && took < 3_000, `${took} ms`);
  assert.equal(await socket.emitWithAck("echo", "still here"), "still here");
});

scenario("ping_interval and ping_timeout are announced and kept", async ({ connect, open }) => {
  const observer = await connect("/", WS);
  const socket = open("/", WS);
  const [handshake] = await next(socket.io.engine, "handshake");
  assert.deepEqual([handshake.pingInterval, handshake.pingTimeout], [250, 1_000]);
  await connected(socket);
  const began = Date.now();
  await nextMany(socket.io, "ping", 3);
  assert.ok(Date.now() - began > 400, "three pings take two intervals at least");
  const { id } = socket;
  const { engine } = socket.io;
  engine.transport.ws.onmessage = () => {};
  engine.clearTimeoutFn(engine._pingTimeoutTimer); // else the client notices first
  assert.equal(await reason(observer, id), "ping timeout");
});

scenario("connect_timeout closes a connection that enters no namespace", async ({ connect }) => {
  const observer = await connect("/", WS);
  const began = Date.now();
  const managers = [WS, POLL].map((options) => new Manager(URL, { ...options, reconnection: false }));
  await Promise.all(managers.map((manager) => next(manager, "close")));
  const took = Date.now() - began;
  assert.ok(took > 500 && took < 4_000, `${took} ms`);
  assert.equal(await observer.emitWithAck("echo", "unharmed"), "unharmed");
});

scenario("max_payload is announced, and enforced", async ({ connect }) => {
  for (const options of [WS, POLL]) {
    const [socket, good] = await Promise.all([connect("/", options), connect("/", options)]);
    assert.equal(socket.io.engine._maxPayload, 20_000);
    assert.equal(await socket.emitWithAck("echo", "x".repeat(19_000)), "x".repeat(19_000));
    const left = next(socket, "disconnect");
    socket.emit("echo", "x".repeat(21_000));
    await left;
    assert.equal(await good.emitWithAck("echo", "unharmed"), "unharmed");
  }
});

scenario("serve_client gives the browser's client, which connects", async ({ keep }) => {
  const address = `${URL}/live/socket.io.js`;
  const answer = await fetch(address, { redirect: "manual" });
  if (answer.status === 302) {
    assert.match(answer.headers.get("location"), /\/4\.\d+\.\d+\/socket\.io\.js$/); // no copy was built in
  } else {
    assert.equal(answer.status, 200);
    const etag = answer.headers.get("etag");
    assert.equal((await fetch(address, { headers: { "if-none-match": etag } })).status, 304);
    const page = { exports: {} };
    globalThis.WebSocket = WebSocket; // what this client takes for a browser's
    new Function("module", "exports", await answer.text())(page, page.exports);
    const socket = keep(page.exports.io(URL, { ...WS, forceNew: true, reconnection: false }));
    await connected(socket);
    assert.equal(await socket.emitWithAck("echo", "as a browser"), "as a browser");
  }
  assert.equal((await fetch(`${WS_ONLY}/socket.io/socket.io.js`, { redirect: "manual" })).status, 404);
});

scenario("close sends everybody away, and the server may be used again", async (tools) => {
  const sockets = [elsewhere(tools, NO_UPGRADES), elsewhere(tools, NO_UPGRADES, { transports: ["polling"] })];
  await Promise.all(sockets.map((socket) => connected(socket)));
  const ids = sockets.map(({ id }) => id);
  const left = sockets.map((socket) => next(socket, "disconnect"));
  sockets[0].emit("end");
  for (const [why] of await Promise.all(left)) assert.match(why, /^transport (close|error)$/);
  const later = elsewhere(tools, NO_UPGRADES);
  await connected(later);
  for (const id of ids) assert.equal(await reason(later, id), "server shutting down");
});
