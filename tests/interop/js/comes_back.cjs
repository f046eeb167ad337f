// One official client with its defaults, that says on a line of its own each greeting that it gets, with its reasons to
// begin anew. It ends when its standard input does.

const { io } = require("socket.io-client");

const client = io(process.env.SHOAL_TEST_URL);
const say = (...words) => console.log(JSON.stringify(words));

client.on("greeting", (text) => say("greeting", text));
client.on("disconnect", (reason) => say("disconnect", reason));
process.stdin.on("end", () => client.close()).resume();
