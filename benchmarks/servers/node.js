// The benchmark's server on Node's socket.io with its defaults: node node.js PORT [REDIS_URL]
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const [port, redisUrl] = process.argv.slice(2);

async function adapter() {
  const { createAdapter } = require("@socket.io/redis-adapter");
  const { createClient } = require("redis");
  const publisher = createClient({ url: redisUrl });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

async function main() {
  const server = createServer();
  const io = new Server(server, redisUrl ? { adapter: await adapter() } : {});
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
