// A reporter for node's test runner: one line of JSON for each scenario, {name, ok, skipped, ms, detail}.

const { inspect } = require("node:util");

module.exports = async function* (source) {
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const error = data.details?.error;
    const detail = error ? inspect(error.cause ?? error, { depth: 4, breakLength: 120 }) : "";
    const { name, skip: skipped = false, details } = data;
    yield `${JSON.stringify({ name, ok: type === "test:pass", skipped, ms: details?.duration_ms, detail })}\n`;
  }
};
