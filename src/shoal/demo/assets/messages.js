// The list of messages. It shows text as text, keeps a bounded number of them, and scrolls only for a reader who is at
// the end. It knows no socket.

const KEPT = 500;
const NEAR = 48; // pixels from the end that still count as the end

const $ = (id) => document.getElementById(id);
const [scroll, list, empty, newest] = ["scroll", "messages", "empty", "newest"].map($);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;

function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  newest.hidden = true;
}

newest.addEventListener("click", toEnd);
scroll.addEventListener("scroll", () => { if (atEnd()) newest.hidden = true; }, { passive: true });
new ResizeObserver(() => { if (newest.hidden) toEnd(); }).observe(scroll);

function append(item, follow) {
  const follows = follow || atEnd();
  empty.hidden = true;
  list.append(item);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  if (follows) toEnd();
  else newest.hidden = false;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text; // never innerHTML: the text is a stranger's
  return made;
}

// Append what somebody said; `node` is the server of the one who said it, `mine` whether that was this page.
export function said(node, text, colour, mine) {
  const now = new Date();
  const item = element("li", mine ? "message mine" : "message");
  item.dataset.colour = colour;
  const badge = element("span", "badge", node);
  badge.title = `sent by a client of server ${node}`;
  const bubble = element("div", "bubble");
  const time = element("time", "", (mine ? "you · " : "") + clock.format(now));
  time.dateTime = now.toISOString();
  bubble.append(element("p", "", text), time);
  item.append(badge, bubble);
  append(item, mine);
}

// Append a line about the connection itself.
export function note(text) {
  append(element("li", "note", text), false);
}
