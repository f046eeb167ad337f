// Engine.IO without Socket.IO: the `Engine` class, with the official Engine.IO client.

const assert = require("node:assert/strict");
const { Socket } = require("engine.io-client");
const { URL, scenario, next, nextMany, eventually } = require("./harness.cjs");

const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];

// A session that was welcomed. It ends with the scenario.
async function enter({ keep }, transports) {
  const session = new Socket(URL, { transports });
  session.binaryType = "nodebuffer";
  keep({ disconnect: () => session.close() });
  assert.deepEqual(await next(session, "message"), [`welcome ${transports[0]}`]);
  return session;
}

// What the server says to one message.
async function ask(session, message) {
  const answer = next(session, "message");
  session.send(message);
  return (await answer)[0];
}

scenario("Engine alone carries text and binary both ways, in order", async (tools) => {
  for (const transports of TRANSPORTS) {
    const session = await enter(tools, transports);
    const messages = ["text", Buffer.from([0, 127, 255]), "é€𝄞", Buffer.alloc(0), "last"];
    const answers = nextMany(session, "message", messages.length);
    for (const message of messages) session.send(message);
    assert.deepEqual((await answers).map(([answer]) => answer), messages);
  }
});

scenario("Engine alone knows id, transport and number of its sessions", async (tools) => {
  const session = await enter(tools, ["polling", "websocket"]);
  if (session.transport.name !== "websocket") await next(session, "upgrade");
  await eventually(async () => (await ask(session, "who am I")) === `${session.id} websocket 1`);
});

scenario("Engine alone may close a session, and is told why one has ended", async (tools) => {
  const observer = await enter(tools, ["websocket"]);
  for (const [transports, leave, reason] of [
    [["websocket"], (session) => session.send("send me away"), "forced close"],
    [["polling"], (session) => session.send("send me away"), "forced close"],
    [["websocket"], (session) => session.close(), "transport close"],
    [["polling"], (session) => session.close(), "transport close"],
  ]) {
    const session = await enter(tools, transports);
    const { id } = session;
    const closed = next(session, "close");
    leave(session);
    await closed;
    await eventually(async () => (await ask(observer, `why did it leave: ${id}`)) === reason);
  }
});
