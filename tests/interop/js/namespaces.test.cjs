// Namespaces, the auth payload, middleware and refusals. Run over every transport.

const assert = require("node:assert/strict");
const { URL, transports, scenario, stricter, next, collect, connected, eventually } = require("./harness.cjs");

const refusal = async (socket) => (await next(socket, "connect_error"))[0];

scenario("several namespaces share one connection", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain, other] = ["/", "/plain", "/greeting"].map((name) => keep(shared.socket(name)));
  await Promise.all([main, plain, other].map((socket) => connected(socket)));
  assert.equal(new Set([main.id, plain.id, other.id, shared.engine.id]).size, 4);
  assert.equal(await main.emitWithAck("where"), "/");
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

scenario("events stay within their namespace", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
  const heard = collect(main, "reflected");
  await Promise.all([connected(main), connected(plain)]);
  plain.emit("reflect", "plain", Buffer.from("p"));
  assert.deepEqual(await next(plain, "reflected"), ["plain", Buffer.from("p")]);
  await main.emitWithAck("echo");
  assert.deepEqual(heard, []);
});

scenario("one namespace's rooms are not another's", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
  await Promise.all([connected(main), connected(plain)]);
  await Promise.all([main, plain].map((socket) => socket.emitWithAck("join", "same name")));
  const heard = collect(plain, "said");
  const own = next(main, "said");
  await main.emitWithAck("tell", ["same name"], "main only");
  assert.deepEqual(await own, ["main only"]);
  await plain.emitWithAck("where");
  assert.deepEqual(heard, []);
});

scenario("leaving one namespace keeps the others", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
  await Promise.all([connected(main), connected(plain)]);
  plain.disconnect();
  assert.equal(plain.id, undefined);
  assert.equal(await main.emitWithAck("echo", "still here"), "still here");
  main.disconnect();
  await eventually(() => shared._readyState === "closed");
});

scenario("a namespace can be joined later, left and joined again", async ({ manager, keep }) => {
  const shared = manager();
  const main = keep(shared.socket("/"));
  await connected(main);
  const plain = keep(shared.socket("/plain"));
  await connected(plain);
  const first = plain.id;
  plain.disconnect();
  await main.emitWithAck("echo");
  plain.connect();
  await connected(plain);
  assert.notEqual(plain.id, first);
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

stricter("a namespace can be left and joined again in one breath", "closes the connection", async ({ manager, keep }) => {
  const shared = manager();
  const [main, plain] = ["/", "/plain"].map((name) => keep(shared.socket(name)));
  await Promise.all([connected(main), connected(plain)]);
  for (let turn = 0; turn < 20; turn += 1) {
    plain.disconnect().connect();
    await connected(plain);
  }
  assert.equal(await plain.emitWithAck("where"), "/plain");
  assert.equal(await main.emitWithAck("echo", "still here"), "still here");
});

scenario("a namespace opens a new connection after the last one closed", async ({ manager, keep }) => {
  const shared = manager();
  const main = keep(shared.socket("/"));
  await connected(main);
  main.disconnect();
  const plain = keep(shared.socket("/plain"));
  await connected(plain);
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

scenario("an unknown namespace is refused in so many words", async ({ manager, keep }) => {
  const shared = manager({ reconnection: true });
  const main = keep(shared.socket("/"));
  const unknown = keep(shared.socket("/unknown"));
  assert.equal((await refusal(unknown)).message, "Invalid namespace");
  assert.equal(unknown.active, false);
  await connected(main);
  assert.equal(await main.emitWithAck("echo", "still here"), "still here");
});

scenario("a namespace that matches a pattern exists", async ({ connect, open }) => {
  const [one, two] = await Promise.all([connect("/tenant-1"), connect("/tenant-22")]);
  assert.equal(await one.emitWithAck("where"), "/tenant-1");
  assert.equal(await two.emitWithAck("where"), "/tenant-22");
  const heard = collect(two, "said");
  one.emit("tell-all", "only tenant 1");
  assert.deepEqual(await next(one, "said"), ["only tenant 1"]);
  await two.emitWithAck("where");
  assert.deepEqual(heard, []);
  assert.equal((await refusal(open("/tenant-x"))).message, "Invalid namespace");
});

scenario("no auth is an empty object", async ({ connect }) => {
  const socket = await connect();
  assert.deepEqual((await socket.emitWithAck("handshake")).auth, {});
});

scenario("the auth object reaches the server", async ({ connect }) => {
  const auth = { a: "b", deep: { c: ["d", 1, null] } };
  const socket = await connect("/", { auth });
  assert.deepEqual((await socket.emitWithAck("handshake")).auth, auth);
});

scenario("auth may be a function, asked at every connect", async ({ connect }) => {
  let count = 0;
  const socket = await connect("/", { auth: (give) => give({ count: (count += 1) }) });
  assert.deepEqual((await socket.emitWithAck("handshake")).auth, { count: 1 });
  socket.disconnect().connect();
  await connected(socket);
  assert.deepEqual((await socket.emitWithAck("handshake")).auth, { count: 2 });
});

scenario("each namespace has an auth of its own", async ({ manager, keep }) => {
  const shared = manager();
  const main = keep(shared.socket("/", { auth: { for: "main" } }));
  const plain = keep(shared.socket("/plain", { auth: { for: "plain" } }));
  await Promise.all([connected(main), connected(plain)]);
  assert.deepEqual((await main.emitWithAck("handshake")).auth, { for: "main" });
  assert.deepEqual((await plain.emitWithAck("handshake")).auth, { for: "plain" });
});

scenario("a query option reaches the server", async ({ connect }) => {
  const socket = await connect("/plain", { query: { key1: "value1", "&key=2": "€ & =", empty: "" } });
  const { query } = await socket.emitWithAck("handshake");
  assert.equal(query.key1, "value1");
  assert.equal(query["&key=2"], "€ & =");
  assert.equal(query.empty, "");
  assert.equal(query.EIO, "4");
});

scenario("a query in the namespace's address reaches the server", async ({ connect }) => {
  const socket = await connect("/plain?c=d&e=f%20g");
  const { query } = await socket.emitWithAck("handshake");
  assert.deepEqual([query.c, query.e], ["d", "f g"]);
  assert.equal(await socket.emitWithAck("where"), "/plain");
});

scenario("extra headers reach the server", async ({ connect }) => {
  const socket = await connect("/", { extraHeaders: { "X-Test": "from the client" } });
  assert.equal((await socket.emitWithAck("handshake")).header, "from the client");
});

scenario("middleware lets the right token in", async ({ connect }) => {
  const socket = await connect("/secret", { auth: { token: "secret" } });
  assert.equal(await socket.emitWithAck("where"), "/secret");
});

scenario("middleware refuses with message and data", async ({ open }) => {
  const socket = open("/secret", { auth: { token: "guess" }, reconnection: true, reconnectionDelay: 10 });
  const error = await refusal(socket);
  assert.ok(error instanceof Error);
  assert.equal(error.message, "not authorized");
  assert.deepEqual(error.data, { retry: false });
  assert.equal(socket.connected, false);
  assert.equal(socket.active, false);
});

scenario("a refusal without data has none", async ({ open }) => {
  const error = await refusal(open("/refuses-in-connect"));
  assert.equal(error.message, "closed today");
  assert.equal(error.data, undefined);
});

scenario("a refused client may try again with another token", async ({ open }) => {
  const socket = open("/secret", { auth: { token: "guess" } });
  await refusal(socket);
  socket.auth = { token: "secret" };
  socket.connect();
  await connected(socket);
  assert.equal(await socket.emitWithAck("where"), "/secret");
});

scenario("a refused client hears nothing of the namespace", async ({ connect, open }) => {
  const refused = open("/secret", { auth: { token: "guess" } });
  const heard = [];
  refused.onAny((...event) => heard.push(event));
  await refusal(refused);
  const member = await connect("/secret", { auth: { token: "secret" } });
  member.emit("tell-all", "for members");
  await next(member, "said");
  assert.deepEqual(heard, []);
});

scenario("what the connect handler emits comes first, in order", async ({ open }) => {
  const socket = open("/greeting");
  const heard = [];
  socket.on("connect", () => heard.push(["connect"]));
  socket.onAny((...event) => heard.push(event));
  await eventually(() => heard.length === 4);
  assert.deepEqual(heard, [["connect"], ["welcome", socket.id], ["said", "to your room"], ["welcome", "again"]]);
});

scenario("events sent at once wait until the connect handler is through", async ({ open }) => {
  const socket = open("/slow-to-accept");
  socket.on("connect", () => socket.emit("reflect", "later"));
  const heard = [];
  socket.onAny((...event) => heard.push(event));
  await eventually(() => heard.length === 2);
  assert.deepEqual(heard, [["accepted"], ["reflected", "later"]]);
});

scenario("two namespaces may be asked for at once, one refused", async ({ manager, keep }) => {
  const shared = manager();
  const secret = keep(shared.socket("/secret"));
  const plain = keep(shared.socket("/plain"));
  const [error] = await Promise.all([refusal(secret), connected(plain)]);
  assert.equal(error.message, "not authorized");
  assert.equal(await plain.emitWithAck("where"), "/plain");
});

scenario("a namespace with letters beyond ASCII works", async ({ connect }) => {
  const socket = await connect("/straße");
  assert.equal(await socket.emitWithAck("where"), "/straße");
});

scenario("another path is not ours", async ({ open }) => {
  const socket = open("/", { path: "/elsewhere" });
  const error = await refusal(socket);
  assert.ok(transports.length && URL && error instanceof Error);
  assert.equal(socket.connected, false);
});
