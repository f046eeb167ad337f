// The benchmark's server on Node's socket.io with its defaults: node node.js PORT [REDIS_URL], where the URL's scheme
// redis+streams stands for the adapter that keeps messages in a stream. A third word, recovery, turns on
// connectionStateRecovery.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const [port, redisUrl, recovery] = process.argv.slice(2);

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

async function main() {
  const server = createServer();
  const options = redisUrl ? { adapter: await adapter() } : {};
  if (recovery) options.connectionStateRecovery = {};
  const io = new Server(server, options);
  io.on("connection", (socket) => {
    socket.join("chat");
    socket.on("chat", (text) => io.to("chat").emit("chat-message", `${port}: ${text}`));
    socket.on("say", (room, text) => io.to(room).emit("chat-message", `${port}: ${text}`));
    socket.on("echo", (text, answer) => answer(text));
    socket.on("join", async (room, answer) => {
      await socket.join(room);
      answer();
    });
  });
  server.listen(Number(port), "127.0.0.1");
}

main();
