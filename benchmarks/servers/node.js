// The benchmark's server on Node's socket.io with its defaults: node node.js PORT [REDIS_URL], where the URL's scheme
// redis+streams stands for the adapter that keeps messages in a stream. A third word, recovery, turns on
// connectionStateRecovery. BENCH_PARSER=msgpack chooses the parser, and BENCH_TLS names a folder with cert.pem and
// key.pem.
const { readFileSync } = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { Server } = require("socket.io");

const [port, redisUrl, recovery] = process.argv.slice(2);
const { BENCH_PARSER, BENCH_TLS } = process.env;

async function adapter() {
  const { createClient } = require("redis");
  const url = redisUrl.replace("+streams", "");
  const publisher = createClient({ url });
  if (url !== redisUrl) {
    await publisher.connect();
    return require("@socket.io/redis-streams-adapter").createAdapter(publisher);
  }
  const { createAdapter } = require("@socket.io/redis-adapter");
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

function listener() {
  if (!BENCH_TLS) return http.createServer();
  return https.createServer({ cert: readFileSync(`${BENCH_TLS}/cert.pem`), key: readFileSync(`${BENCH_TLS}/key.pem`) });
}

async function main() {
  const server = listener();
  const options = redisUrl ? { adapter: await adapter() } : {};
  if (BENCH_PARSER) options.parser = require("socket.io-msgpack-parser");
  if (recovery) options.connectionStateRecovery = {};
  const io = new Server(server, options);
  io.on("connection", (socket) => {
    socket.join("chat");
    socket.on("chat", (text) => io.to("chat").emit("chat-message", `${port}: ${text}`));
    socket.on("say", (room, text) => io.to(room).emit("chat-message", `${port}: ${text}`));
    socket.on("bytes", (bytes) => io.to("chat").emit("chat-bytes", bytes));
    socket.on("echo", (text, answer) => answer(text));
    socket.on("echo-async", async (text, answer) => answer(text));
    // One turn of the loop, as a query takes at least one. process.nextTick and queueMicrotask do not get there.
    socket.on("echo-turn", async (text, answer) => {
      await new Promise(setImmediate);
      answer(text);
    });
    // A promise that the loop keeps.
    socket.on("echo-future", async (text, answer) => {
      answer(await new Promise((keep) => setImmediate(keep, text)));
    });
    socket.on("join", async (room, answer) => {
      await socket.join(room);
      answer();
    });
  });
  server.listen(Number(port), "127.0.0.1");
}

main();
