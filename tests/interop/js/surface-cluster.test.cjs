// The server API where it is about sockets of two servers on one broker. Clients connect to either.

const assert = require("node:assert/strict");
const { io } = require("socket.io-client");
const { scenario, next, collect, connected, eventually } = require("./harness.cjs");

const OTHER = process.env.SHOAL_TEST_OTHER;
const WS = { transports: ["websocket"] };
const unique = (name) => `${name} ${process.pid} ${Math.random()}`;

// One client on each server, and the names of the two.
async function pair({ connect, keep }) {
  const here = await connect("/", WS);
  const there = keep(io(OTHER, { ...WS, forceNew: true, reconnection: false }));
  await connected(there);
  return [here, there];
}

scenario("the two clients are on two servers", async (tools) => {
  const nodes = await Promise.all((await pair(tools)).map((socket) => socket.emitWithAck("node")));
  assert.deepEqual(nodes, ["one", "two"]);
});

scenario("emit, to, except and broadcast reach the sockets of both", async (tools) => {
  const [here, there] = await pair(tools);
  const [room, other] = [unique("room"), unique("other")];
  await Promise.all([here.emitWithAck("join", room), there.emitWithAck("join", room, other)]);
  const heard = collect(there, "said");
  for (const [how, rooms, excluded, expected] of [
    ["all", [room], [], true],
    ["all", [], [], true],
    ["all", [room], [other], false],
    ["others", [room], [], true],
    ["to", [there.id], [], true],
    ["except", [], [other], false],
    ["volatile", [room], [], true],
  ]) {
    const text = unique(how);
    here.emit("say", how, rooms, excluded, text);
    const last = unique("last");
    here.emit("say", "all", [other], [], last);
    await eventually(() => heard.includes(last));
    assert.equal(heard.includes(text), expected, how);
  }
  assert.equal(new Set(heard).size, heard.length, "nothing came twice");
});

scenario("local stays on this server", async (tools) => {
  const [here, there] = await pair(tools);
  const room = unique("room");
  await Promise.all([here.emitWithAck("join", room), there.emitWithAck("join", room)]);
  const heard = collect(there, "said");
  for (const how of ["local", "volatile local"]) {
    const text = unique(how);
    const mine = next(here, "said");
    here.emit("say", how, [room], [], text);
    assert.deepEqual(await mine, [text]);
  }
  const last = unique("last");
  here.emit("say", "all", [room], [], last);
  await eventually(() => heard.length > 0);
  assert.deepEqual(heard, [last]);
});

scenario("a call is answered by the clients of both, silent ones are named", async (tools) => {
  const [here, there] = await pair(tools);
  const room = unique("room");
  await Promise.all([here.emitWithAck("join", room), there.emitWithAck("join", room)]);
  here.on("question", (what, answer) => answer(`here${what}`));
  const asked = here.emitWithAck("call", [room], 1.0);
  assert.deepEqual(await asked, { responses: ["here?"], missing: [there.id] });
  there.on("question", (what, answer) => answer(`there${what}`));
  assert.deepEqual(await here.emitWithAck("call", [room], 5.0), { responses: ["here?", "there?"], missing: [] });
});

scenario("listeners of what goes out hear what another server said", async ({ connect, keep }) => {
  const here = await connect("/", WS);
  const there = keep(io(OTHER, { ...WS, query: { do: "listen" }, forceNew: true, reconnection: false }));
  await connected(there);
  const said = next(there, "said");
  here.emit("say", "all", [there.id], [], "from afar", Buffer.from([1]));
  assert.deepEqual(await said, ["from afar", Buffer.from([1])]);
  const heard = await there.emitWithAck("noted", `heard ${there.id}`);
  assert.deepEqual(heard[0], ["out", "said", "from afar", Buffer.from([1])]);
});

scenario("sockets of both are fetched", async (tools) => {
  const [here, there] = await pair(tools);
  const room = unique("room");
  await Promise.all([here.emitWithAck("join", room), there.emitWithAck("join", room)]);
  await there.emitWithAck("remember", { seat: 7 });
  const { found, missing } = await here.emitWithAck("fetch", room);
  const expected = [[here.id, "one"], [there.id, "two"]].sort();
  assert.deepEqual(found.map(({ id, node }) => [id, node]), expected);
  assert.deepEqual(found.find(({ id }) => id === there.id).data, { seat: 7 });
  assert.deepEqual(missing, []);
});

scenario("sockets of both join, leave and are sent away", async (tools) => {
  const [here, there] = await pair(tools);
  const observer = await tools.connect("/", WS);
  const [room, other] = [unique("from"), unique("to")];
  await Promise.all([here.emitWithAck("join", room), there.emitWithAck("join", room)]);
  const members = async (name) => (await observer.emitWithAck("fetch", name)).found.length;
  assert.deepEqual(await observer.emitWithAck("order", "join", [room], other), { missing: [] });
  assert.equal(await members(other), 2);
  assert.deepEqual(await observer.emitWithAck("order", "leave", [room], room), { missing: [] });
  assert.equal(await members(room), 0);
  const said = [here, there].map((socket) => next(socket, "said"));
  await observer.emitWithAck("through-afar", other);
  await Promise.all(said);
  const left = [here, there].map((socket) => next(socket, "disconnect"));
  assert.deepEqual(await observer.emitWithAck("order", "disconnect", ["from afar"], false), { missing: [] });
  assert.deepEqual((await Promise.all(left)).map(([reason]) => reason), Array(2).fill("io server disconnect"));
});

scenario("a server tells the others, and is not told itself", async (tools) => {
  const [here, there] = await pair(tools);
  const text = unique("told");
  here.emit("tell-servers", text);
  await eventually(async () => (await there.emitWithAck("noted", "asked by a server")).includes(text));
  assert.ok(!(await here.emitWithAck("noted", "asked by a server")).includes(text));
});

scenario("a server asks the others", async (tools) => {
  const [here] = await pair(tools);
  assert.deepEqual(await here.emitWithAck("ask-servers", "how are you,"), { responses: ["how are you, two"], missing: [] });
});

scenario("a room may not be named like a socket of the other server", async (tools) => {
  const [here, there] = await pair(tools);
  const heard = collect(here, "said");
  const answer = await here.emitWithAck("enter-a-room-of", there.id);
  const text = unique("secret");
  there.emit("say", "all", [there.id], [], text);
  assert.deepEqual(await next(there, "said"), [text]);
  assert.match(String(answer), /id of another socket/);
  assert.deepEqual(heard, []);
});
