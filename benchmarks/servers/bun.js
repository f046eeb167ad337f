// The benchmark's server on Bun with the engine that Socket.IO's authors wrote for it: bun bun.js PORT
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";

const port = Number(process.argv[2]);
const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);

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

// The engine asks for an idle time-out above its ping interval of 25 s.
Bun.serve({ port, hostname: "127.0.0.1", idleTimeout: 30, ...engine.handler(), port });
