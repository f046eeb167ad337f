// What time it is on the servers, in this page's time: asked for as NTP does it. Of several questions the one with the
// shortest way counts, and half that way is how wrong the answer can be.

const QUESTIONS = 5;
const AGAIN = 4000; // milliseconds
const ANSWER_WITHIN = 2000;

let best = null; // {offset, error}

export const clockError = () => best?.error ?? null;

// A server's time, as performance.now() would have said it here; null while the servers' clock is not known.
export const toPage = (serverTime) => (best ? serverTime - best.offset : null);

// Keep asking by this connection. A connection to another server begins anew: its clock may be another one.
export function keepAsking(ws) {
  ws.on("welcome", async () => {
    best = null;
    for (let asked = 0; asked < QUESTIONS && ws.connected; asked += 1) await ask(ws);
  });
  setInterval(() => { if (ws.connected && !document.hidden) ask(ws); }, AGAIN);
}

async function ask(ws) {
  const sent = performance.now();
  try {
    const theirs = await ws.timeout(ANSWER_WITHIN).emitWithAck("clock");
    const error = (performance.now() - sent) / 2;
    // Quartz drifts by some 20 ppm: an old answer is not worth more than a new one for ever.
    if (best) best.error += AGAIN * 2e-5;
    if (!best || error <= best.error) best = { offset: theirs - sent - error, error };
  } catch {
    // No answer in time: the next question may have one.
  }
}
