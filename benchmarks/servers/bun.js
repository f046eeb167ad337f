// The benchmark's server on Bun with the engine that Socket.IO's authors wrote for it: bun bun.js PORT. BENCH_PARSER and
// BENCH_TLS as in node.js.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import * as msgpackParser from "socket.io-msgpack-parser";

const port = Number(process.argv[2]);
const { BENCH_PARSER, BENCH_TLS } = process.env;
const io = new Server(BENCH_PARSER ? { parser: msgpackParser } : {});
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);

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

// The engine asks for an idle time-out above its ping interval of 25 s.
const tls = BENCH_TLS ? { cert: Bun.file(`${BENCH_TLS}/cert.pem`), key: Bun.file(`${BENCH_TLS}/key.pem`) } : undefined;
Bun.serve({ port, hostname: "127.0.0.1", idleTimeout: 30, ...engine.handler(), port, tls });
