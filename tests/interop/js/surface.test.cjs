// The server API as docs/compatibility.md lists it: what the other scripts have not shown. Run over the fast lane and plain ASGI.

const assert = require("node:assert/strict");
const { URL, scenario, next, nextMany, collect, connected, eventually } = require("./harness.cjs");

const WS = { transports: ["websocket"] };
const POLL = { transports: ["polling"] };
const BOTH = { transports: ["polling", "websocket"] };
const unique = (name) => `${name} ${process.pid} ${Math.random()}`;

// Why a socket has left, as the server's handlers were told.
async function reasons(observer, id) {
  await eventually(async () => (await observer.emitWithAck("gone", id)).length >= 2);
  return observer.emitWithAck("gone", id);
}

// The engine and the handshake.

scenario("asgi puts the server in front of another application, which gets all other paths", async ({ connect }) => {
  for (const options of [WS, POLL, BOTH]) assert.equal(await (await connect("/", options)).emitWithAck("echo", 1), 1);
  for (const path of ["/", "/socket.iox", "/some/page"]) {
    assert.equal(await (await fetch(URL + path)).text(), `hello from ${path}`);
  }
  assert.equal((await fetch(`${URL}/socket.io/?EIO=3&transport=polling`)).status, 400);
});

scenario("connection_error tells code, message and request", async ({ connect, open }) => {
  const observer = await connect("/", WS);
  const socket = open("/", { ...POLL, extraHeaders: { "x-test": "banned" } });
  assert.equal((await next(socket, "connect_error"))[0].context.status, 403);
  const answer = await fetch(`${URL}/socket.io/?EIO=4&transport=polling`, { headers: { "x-test": "banned" } });
  assert.deepEqual([answer.status, await answer.json()], [403, { code: 4, message: 'not "today"' }]);
  const refusals = (await observer.emitWithAck("noted", "connection_error")).filter((each) => each[2] === "banned");
  assert.deepEqual(refusals, [[4, 'not "today"', "banned"], [4, 'not "today"', "banned"]]);
});

scenario("allow_request refuses a WebSocket with 403", async ({ open }) => {
  const socket = open("/", { ...WS, extraHeaders: { "x-test": "banned" } });
  const [error] = await next(socket, "connect_error");
  assert.match(String(error.description?.message ?? error.description?.error ?? error.message), /403|websocket error/);
});

scenario("initial_headers and headers add to responses", async ({ open }) => {
  const socket = open("/", POLL);
  const seen = [];
  socket.io.engine.on("packet", () => {
    const { pollXhr } = socket.io.engine.transport;
    if (pollXhr?._xhr?.getAllResponseHeaders) seen.push(pollXhr._xhr.getAllResponseHeaders().toLowerCase());
  });
  await connected(socket);
  await socket.emitWithAck("echo");
  await eventually(() => seen.length >= 2);
  assert.match(seen[0], /x-initial: once/);
  assert.ok(seen.every((headers) => headers.includes("x-each: always")));
  assert.ok(seen.slice(1).every((headers) => !headers.includes("x-initial")));
});

scenario("a WebSocket's handshake gets the headers too", async ({ open }) => {
  const socket = open("/", WS);
  const headers = await new Promise((resolve) => {
    socket.io.on("open", () => resolve(undefined));
    const { transport } = socket.io.engine;
    transport.ws.on("upgrade", (response) => resolve(response.headers));
  });
  assert.equal(headers?.["x-initial"], "once");
  assert.equal(headers?.["x-each"], "always");
});

scenario("clients_count counts sessions", async ({ connect }) => {
  const observer = await connect("/", WS);
  const before = (await observer.emitWithAck("engine")).clients;
  const others = await Promise.all([connect("/", WS), connect("/", POLL)]);
  const now = await observer.emitWithAck("engine");
  assert.equal(now.clients, before + 2);
  assert.equal(now.mine, true);
  for (const other of others) other.disconnect();
  await eventually(async () => (await observer.emitWithAck("engine")).clients === before);
});

scenario("the handshake tells headers, query, auth, address, url and time", async ({ connect }) => {
  const began = Date.now();
  const socket = await connect("/", {
    ...WS,
    query: { "a b": "ä&ß" },
    auth: { token: "123", list: [1] },
    extraHeaders: { "x-test": "value" },
  });
  const seen = await socket.emitWithAck("describe");
  assert.equal(seen.headers["x-test"], "value");
  assert.equal(seen.headers.host, new globalThis.URL(URL).host);
  assert.equal(seen.query["a b"], "ä&ß");
  assert.equal(seen.query.EIO, "4");
  assert.deepEqual(seen.auth, { token: "123", list: [1] });
  assert.equal(seen.address, "127.0.0.1");
  assert.equal(seen.secure, false);
  assert.match(seen.url, /^\/socket\.io\/\?.*EIO=4/);
  assert.ok(Math.abs(new Date(seen.time).getTime() - began) < 60_000);
  assert.ok(Math.abs(seen.issued * 1000 - began) < 60_000);
});

scenario("the address is the proxy's word where the proxy is trusted", async ({ connect }) => {
  const socket = await connect("/", { ...WS, extraHeaders: { "x-forwarded-for": "10.9.9.9, 203.0.113.5", "x-forwarded-proto": "https" } });
  const seen = await socket.emitWithAck("describe");
  assert.equal(seen.address, "203.0.113.5");
  assert.equal(seen.secure, true);
});

// A socket.

scenario("a socket knows its id, rooms, namespace and state", async ({ connect }) => {
  const socket = await connect("/", WS);
  const seen = await socket.emitWithAck("describe");
  assert.equal(seen.id, socket.id);
  assert.deepEqual(seen.rooms, [socket.id, "hall"].sort());
  assert.equal(seen.connected, true);
  assert.equal(seen.recovered, false);
  assert.equal(seen.namespace, "/");
});

scenario("data is kept with the socket", async ({ connect }) => {
  const socket = await connect("/", WS);
  assert.equal(typeof (await socket.emitWithAck("describe")).data.since, "number");
  await socket.emitWithAck("remember", { name: "Anna" });
  assert.deepEqual((await socket.emitWithAck("describe")).data, { name: "Anna" });
});

scenario("conn tells the transport, its upgrade and why it closed", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", BOTH);
  const { id } = socket;
  await eventually(async () => (await observer.emitWithAck("noted", `upgrade ${id}`)).length === 1);
  assert.deepEqual(await observer.emitWithAck("noted", `upgrade ${id}`), ["websocket"]);
  const seen = await socket.emitWithAck("describe");
  assert.equal(seen.transport, "websocket");
  assert.equal(typeof seen.buffered, "number");
  socket.io.engine.close();
  await eventually(async () => (await observer.emitWithAck("noted", `close ${id}`)).length === 1);
  assert.deepEqual(await observer.emitWithAck("noted", `close ${id}`), ["transport close"]);
});

scenario("send emits message, to one and to all", async ({ connect }) => {
  const [one, other] = [await connect("/", WS), await connect("/", WS)];
  const single = next(one, "message");
  one.emit("send", "a", 1);
  assert.deepEqual(await single, ["a", 1]);
  const text = unique("to all");
  const heard = [one, other].map((socket) => next(socket, "message"));
  one.emit("send-to-all", text);
  assert.deepEqual(await Promise.all(heard), [[text], [text]]);
});

scenario("on, once and off of one socket; its ears for everything", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", { ...WS, query: { do: "listen" } });
  const answer = next(socket, "answer");
  assert.deepEqual(await socket.emitWithAck("own", 1, 2), [1, 2, "acknowledged"]);
  assert.deepEqual(await answer, [1, 2]);
  assert.equal(await socket.emitWithAck("once", "a"), "once a");
  await assert.rejects(socket.timeout(150).emitWithAck("once", "b"));
  const heard = await observer.emitWithAck("noted", `heard ${socket.id}`);
  assert.deepEqual(heard, [["in", "own", 1, 2], ["out", "answer", 1, 2], ["in", "once", "a"], ["in", "once", "b"]]);
  socket.emit("deaf");
  await assert.rejects(socket.timeout(150).emitWithAck("own", 3));
  assert.equal((await observer.emitWithAck("noted", `heard ${socket.id}`)).length, 5);
});

scenario("a listener of one socket is not another's", async ({ connect }) => {
  await connect("/", { ...WS, query: { do: "listen" } });
  const socket = await connect("/", WS);
  await assert.rejects(socket.timeout(150).emitWithAck("own", 1));
});

scenario("listeners of what goes out hear broadcasts too", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", { ...WS, query: { do: "listen" } });
  const said = nextMany(socket, "said", 2);
  await observer.emitWithAck("say", "all", [socket.id], [], "to you");
  await observer.emitWithAck("say", "all", [observer.id], [], "not to you");
  await observer.emitWithAck("say", "others", [], [], "to others");
  assert.deepEqual(await said, [["to you"], ["to others"]]);
  const heard = await observer.emitWithAck("noted", `heard ${socket.id}`);
  assert.deepEqual(heard, [["out", "said", "to you"], ["out", "said", "to others"]]);
});

scenario("use stops an event, and error is told why", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", { ...WS, query: { do: "guard" } });
  assert.deepEqual(await socket.emitWithAck("echo", "allowed"), "allowed");
  const refused = next(socket, "refused");
  await assert.rejects(socket.timeout(150).emitWithAck("echo", "forbidden"));
  assert.deepEqual(await refused, ["echo is not for you"]);
  assert.ok((await observer.emitWithAck("noted", "errors")).includes("echo is not for you"));
  assert.deepEqual(await socket.emitWithAck("echo", "allowed again"), "allowed again");
});

scenario("error is told of a packet that is none, before the disconnect", async ({ connect }) => {
  const observer = await connect("/", WS);
  const before = (await observer.emitWithAck("noted", "errors")).length;
  const socket = await connect("/", WS);
  const { id } = socket;
  socket.io.engine.write("nonsense");
  assert.equal((await reasons(observer, id))[1][1], "parse error");
  assert.equal((await observer.emitWithAck("noted", "errors")).length, before + 1);
});

scenario("a client cannot play the library's own events", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", { ...WS, query: { do: "guard" } });
  const heard = collect(socket, "refused");
  const text = unique("played");
  for (const event of ["error", "create_room", "join_room", "delete_room"]) socket.emit(event, text);
  await socket.emitWithAck("echo");
  assert.deepEqual(heard, []);
  assert.ok(!(await observer.emitWithAck("noted", "errors")).includes(text));
});

scenario("compress is accepted, and changes no event", async ({ connect }) => {
  const socket = await connect("/", WS);
  const text = nextMany(socket, "text", 3);
  socket.emit("compressed", "x".repeat(5000));
  assert.deepEqual(await text, Array(3).fill(["x".repeat(5000)]));
});

// Leaving.

scenario("every way to leave has its reason, word for word", async ({ connect }) => {
  const observer = await connect("/", WS);
  for (const [transports, leave, reason] of [
    [WS, (socket) => socket.disconnect(), "client namespace disconnect"],
    [POLL, (socket) => socket.disconnect(), "client namespace disconnect"],
    [WS, (socket) => socket.emit("kick", false), "server namespace disconnect"],
    [POLL, (socket) => socket.emit("kick", false), "server namespace disconnect"],
    [WS, (socket) => socket.emit("kick", true), "server namespace disconnect"],
    [WS, (socket) => socket.io.engine.close(), "transport close"],
    [WS, (socket) => socket.io.engine.transport.ws.terminate(), "transport close"],
    [POLL, (socket) => socket.io.engine.close(), "transport close"],
    [WS, (socket) => socket.io.engine.write("nonsense"), "parse error"],
    [WS, (socket) => socket.io.engine.transport.ws.send("9"), "parse error"],
    [WS, (socket) => socket.io.engine.transport.ws.send("2"), "transport error"],
  ]) {
    const socket = await connect("/", transports);
    const { id } = socket;
    leave(socket);
    assert.equal((await reasons(observer, id))[1][1], reason, `${leave}`);
  }
});

scenario("a client that does not read is cut off with transport error", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", WS);
  const { id } = socket;
  socket.io.engine.transport.ws._socket.pause();
  socket.emit("overflow");
  assert.equal((await reasons(observer, id))[1][1], "transport error");
});

scenario("disconnecting still has the rooms, disconnect has none", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/", WS);
  const { id } = socket;
  socket.disconnect();
  assert.deepEqual(await reasons(observer, id), [
    ["disconnecting", "client namespace disconnect", ["hall"], false],
    ["disconnect", "client namespace disconnect", [], false],
  ]);
});

// Many sockets.

scenario("to, in, except, broadcast and local select whom they name", async ({ connect }) => {
  const [room, other] = [unique("room"), unique("other")];
  const sockets = await Promise.all([1, 2, 3, 4].map(() => connect("/", WS)));
  const [me, a, b, both] = sockets;
  const heard = sockets.map((socket) => collect(socket, "said"));
  await Promise.all([me.emitWithAck("join", room), a.emitWithAck("join", room), b.emitWithAck("join", other)]);
  await both.emitWithAck("join", room, other);
  const everyone = [0, 1, 2, 3];
  for (const [how, rooms, excluded, expected] of [
    ["all", [room], [], [0, 1, 3]],
    ["all", [room, other], [], everyone],
    ["in", [room, other], [other], [0, 1]],
    ["all", [], [room], [2]],
    ["others", [room], [], [1, 3]],
    ["to", [room], [other], [1]],
    ["except", [], [room], [2]],
    ["local", [room], [], [0, 1, 3]],
    ["local others", [other], [], [2, 3]],
    ["volatile", [other], [], [2, 3]],
    ["volatile local", [other], [], [2, 3]],
  ]) {
    const text = unique(how);
    await me.emitWithAck("say", how, rooms, excluded, text);
    await Promise.all(sockets.map((socket) => socket.emitWithAck("echo")));
    assert.deepEqual(everyone.filter((each) => heard[each].includes(text)), expected, how);
  }
  assert.ok(heard.every((texts) => new Set(texts).size === texts.length), "nobody heard anything twice");
});

scenario("a room is called, with a timeout, and silent clients are named", async ({ connect }) => {
  const room = unique("called");
  const [a, b, silent] = await Promise.all([1, 2, 3].map(() => connect("/", WS)));
  await Promise.all([a, b, silent].map((socket) => socket.emitWithAck("join", room)));
  a.on("question", (what, answer) => answer(`a${what}`));
  b.on("question", (what, answer) => answer(`b${what}`));
  assert.deepEqual(await a.emitWithAck("call", [room], 0.2), { responses: ["a?", "b?"], missing: [silent.id] });
});

scenario("sockets are fetched with id, node, rooms, data and handshake", async ({ connect }) => {
  const room = unique("fetched");
  const socket = await connect("/", { ...WS, auth: { name: "Anna" }, query: { quiet: "1" } });
  await socket.emitWithAck("join", room);
  await socket.emitWithAck("remember", { seat: 12 });
  const { found, missing } = await socket.emitWithAck("fetch", room);
  const node = await socket.emitWithAck("node");
  const expected = { id: socket.id, node, rooms: [room, socket.id].sort(), data: { seat: 12 }, auth: { name: "Anna" }, address: "127.0.0.1" };
  assert.deepEqual(found, [expected]);
  assert.deepEqual(missing, []);
});

scenario("many sockets join, leave and are sent away", async ({ connect }) => {
  const [room, other] = [unique("from"), unique("to")];
  const sockets = await Promise.all([1, 2, 3].map(() => connect("/", WS)));
  const observer = await connect("/", WS);
  await Promise.all(sockets.map((socket) => socket.emitWithAck("join", room)));
  const members = async (name) => (await observer.emitWithAck("fetch", name)).found.map(({ id }) => id);
  const all = sockets.map(({ id }) => id).sort();
  assert.deepEqual(await observer.emitWithAck("order", "join", [room], other), { missing: [] });
  assert.deepEqual(await members(other), all);
  await observer.emitWithAck("order", "leave", [room], room);
  assert.deepEqual(await members(room), []);
  const said = sockets.map((socket) => next(socket, "said"));
  await observer.emitWithAck("through-afar", other);
  assert.deepEqual(await Promise.all(said), Array(3).fill(["through its description"]));
  assert.deepEqual([await members(other), await members("from afar")], [[], all]);
  const left = sockets.map((socket) => next(socket, "disconnect"));
  await observer.emitWithAck("order", "disconnect", ["from afar"], true);
  for (const [reason] of await Promise.all(left)) assert.equal(reason, "io server disconnect");
  assert.equal((await reasons(observer, all[0]))[1][1], "server namespace disconnect");
});

scenario("rooms tell of their creation, joining, leaving and deletion", async ({ connect }) => {
  const observer = await connect("/", WS);
  const room = unique("noted");
  const [a, b] = await Promise.all([connect("/", WS), connect("/", WS)]);
  const ids = [a.id, b.id];
  await a.emitWithAck("join", room);
  await a.emitWithAck("join", room);
  await b.emitWithAck("join", room);
  await a.emitWithAck("leave", room);
  b.disconnect();
  await reasons(observer, ids[1]);
  const told = (await observer.emitWithAck("noted", "rooms")).filter((each) => each[1] === room);
  assert.deepEqual(told, [
    ["create_room", room],
    ["join_room", room, ids[0]],
    ["join_room", room, ids[1]],
    ["leave_room", room, ids[0]],
    ["leave_room", room, ids[1]],
    ["delete_room", room],
  ]);
});

scenario("a socket's id is a room that nobody else can enter", async ({ connect }) => {
  const [a, b] = await Promise.all([connect("/", WS), connect("/", WS)]);
  const said = next(b, "said");
  await a.emitWithAck("say", "all", [b.id], [], "to you alone");
  assert.deepEqual(await said, ["to you alone"]);
  assert.match(await a.emitWithAck("enter-a-room-of", b.id), /id of another socket/);
});

// Namespaces.

scenario("handlers may be methods of a class", async ({ connect, open }) => {
  const observer = await connect("/", WS);
  const socket = open("/chat", WS);
  assert.deepEqual(await next(socket, "welcome"), ["/chat"]);
  const heard = next(socket, "chat-message");
  assert.equal(await socket.emitWithAck("chat-message", "hello"), 5);
  assert.deepEqual(await heard, ["hello"]);
  socket.disconnect();
  await eventually(async () => (await observer.emitWithAck("noted", "left chat")).includes("client namespace disconnect"));
});

scenario("a namespace may be chosen by a function of name and auth", async ({ connect, open }) => {
  const socket = await connect("/for-anna", { ...WS, auth: { to: "anna" } });
  assert.equal(await socket.emitWithAck("where"), "/for-anna");
  const [error] = await next(open("/for-berta", { ...WS, auth: { to: "anna" } }), "connect_error");
  assert.equal(error.message, "Invalid namespace");
});

scenario("an empty child of a dynamic namespace is forgotten, where that is asked for", async ({ connect }) => {
  const observer = await connect("/", WS);
  const socket = await connect("/tenant-42", WS);
  assert.ok((await observer.emitWithAck("namespaces")).includes("/tenant-42"));
  socket.disconnect();
  await eventually(async () => !(await observer.emitWithAck("namespaces")).includes("/tenant-42"));
  assert.equal(await (await connect("/tenant-42", WS)).emitWithAck("where"), "/tenant-42");
});

scenario("a namespace that comes into being is told", async ({ connect }) => {
  const observer = await connect("/", WS);
  const name = `/tenant-${Date.now()}`;
  await Promise.all([connect(name, WS), connect(name, WS)]);
  const told = await observer.emitWithAck("noted", "new namespaces");
  assert.equal(told.filter((each) => each === name).length, 1);
});

// Beyond Node.

scenario("values that JSON does not know arrive as people expect", async ({ connect }) => {
  const socket = await connect("/", WS);
  assert.equal(await socket.emitWithAck("now"), "2020-01-02T03:04:05.678Z");
  assert.deepEqual(await socket.emitWithAck("values"), {
    naive: "2020-01-02T03:04:05.000Z",
    day: "2020-01-02",
    uuid: "00000000-0000-0000-0000-000000000001",
    decimal: "1.10",
    enum: "red",
    dataclass: { x: 1.5, y: 0 },
    struct: { item: "tea", count: 2 },
    set: [1],
    tuple: [1, 2],
  });
});

scenario("typed arguments are converted, and bad ones refused in the ack", async ({ connect }) => {
  const socket = await connect("/", WS);
  assert.equal(await socket.emitWithAck("order-item", { item: "tea", count: 2 }), "2 of tea");
  assert.deepEqual(await socket.emitWithAck("go-to", { x: 1 }), [1, 0]);
  assert.match((await socket.emitWithAck("order-item", { item: "tea", count: "two" })).error, /count/);
  assert.match((await socket.emitWithAck("go-to", "nowhere")).error, /object/);
});
