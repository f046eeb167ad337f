// Killing a server, where whoever started the servers allows it to who opened this page: a button on each card.

import { offerKill } from "./places.js";

// `say(words)` tells what came of it.
export async function openKill(say) {
  try {
    const answer = await fetch("/controls", { cache: "no-store" });
    if (!answer.ok || !(await answer.json()).kill) return;
  } catch {
    return; // no server to ask: no server to kill
  }
  offerKill((node) => kill(node, say));
}

async function kill(node, say) {
  const button = document.querySelector(`.server[data-node="${CSS.escape(node)}"] .kill`);
  if (button?.getAttribute("aria-disabled") === "true") return;
  try {
    const path = `/controls/kill/${encodeURIComponent(node)}`;
    const answer = await fetch(path, { method: "POST", headers: { "X-Shoal-Page": "1" } });
    const { ok, error } = await answer.json();
    if (!ok) say(`Server ${node} was not killed: ${error}.`);
  } catch {
    say(`Nobody answered: is server ${node} down already?`);
  }
}
