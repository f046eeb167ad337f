// Many official clients through a balancer, in front of several servers. Nothing is set but what each scenario says.

const assert = require("node:assert/strict");
const { io } = require("socket.io-client");
const { scenario, next, collect, connected, eventually } = require("./harness.cjs");

const URL = process.env.SHOAL_TEST_URL;
const CLIENTS = 24;
const MESSAGES = 20; // of each client
const SERVERS = Number(process.env.SHOAL_TEST_SERVERS || 4);

// Clients that connect at once, each on a connection of its own, the server that each is on, and everything that went wrong.
async function many({ keep }, options) {
  const trouble = [];
  const clients = Array.from({ length: CLIENTS }, () => keep(io(URL, { forceNew: true, ...options })));
  const welcomes = clients.map((client) => next(client, "welcome"));
  for (const client of clients) {
    client.on("disconnect", (reason) => trouble.push(`disconnect: ${reason}`));
    client.on("connect_error", (error) => trouble.push(`connect_error: ${error.message}`));
    client.io.on("reconnect_attempt", () => trouble.push("reconnect_attempt"));
  }
  await Promise.all(clients.map((client) => connected(client)));
  const nodes = (await Promise.all(welcomes)).map(([node]) => node);
  return { clients, nodes, trouble };
}

// Everybody says MESSAGES texts to all. Everybody must hear all of them, those of each speaker in their order.
async function chat({ clients, trouble }) {
  const heard = clients.map((client) => collect(client, "said"));
  for (let number = 0; number < MESSAGES; number += 1) {
    for (const [speaker, client] of clients.entries()) client.emit("tell-all", { speaker, number });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await eventually(() => heard.every((each) => each.length >= CLIENTS * MESSAGES));
  const inOrder = Array.from({ length: MESSAGES }, (_, number) => number);
  for (const each of heard) {
    for (const speaker of clients.keys()) {
      const numbers = each.filter(([, text]) => text.speaker === speaker).map(([, text]) => text.number);
      assert.deepEqual(numbers, inOrder);
    }
  }
  assert.deepEqual(trouble, []);
}

const transportOf = (client) => client.io.engine.transport.name;

scenario("with nothing set they connect, upgrade and chat in order", async (tools) => {
  const found = await many(tools, {});
  await eventually(() => found.clients.every((client) => transportOf(client) === "websocket"));
  await chat(found);
  assert.equal(new Set(found.nodes).size, SERVERS, "every server has some of them");
});

scenario("what is said while they upgrade arrives in order too", async (tools) => {
  const found = await many(tools, {});
  await chat(found);
  await eventually(() => found.clients.every((client) => transportOf(client) === "websocket"));
});

scenario("with polling alone they connect and chat in order", async (tools) => {
  const found = await many(tools, { transports: ["polling"] });
  await chat(found);
  assert.ok(found.clients.every((client) => transportOf(client) === "polling"));
  assert.equal(new Set(found.nodes).size, SERVERS, "every server has some of them");
});

scenario("with WebSockets alone they connect and chat in order", async (tools) => {
  const found = await many(tools, { transports: ["websocket"] });
  await chat(found);
  assert.equal(new Set(found.nodes).size, SERVERS, "every server has some of them");
});
