// Three doors to the gateway's events: a WebSocket, which does not count against a browser's six connections to an origin;
// a stream of server-sent events; polling. Each tells `opened(range)`, `event(type, sequence, data, at)`,
// `caughtUp()` where it knows, and at last, once, `lost(code)`; what they return closes them without a word.
const SILENT_MS = 45000;
const POLL_MS = 5000;
const STATES = {
  workload: ["started", "deferred", "displaced", "completed", "failed", "cancelled", "moved", "expired"],
  order: ["confirmed", "running", "completed", "failed", "cancelled"],
  grid: ["updated", "flexibility"], source: ["stale", "fresh"], data_centre: ["changed"], agent: ["changed"],
  negotiation: ["opened", "awarded", "settled", "failed"],
};
const TYPES = ["decision", ...Object.entries(STATES).flatMap(([about, states]) => states.map((state) => `${about}.${state}`))];
const gateway = document.body.dataset.gateway;
const ticketsAt = document.body.dataset.ticket;

// The gateway is another server, which our cookie is not sent to: a ticket, good once, stands for whoever signed in.
async function freshTicket() {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(ticketsAt, { method: "POST", headers, body: "{}" });
  if (!answer.ok) throw new Error(String(answer.status));
  return (await answer.json()).ticket;
}

function once(told, close) {
  let isOver = false;
  const end = () => { isOver = true; close(); };
  return { end, lost: (code) => { if (!isOver) { end(); told.lost(Number(code) || 0); } }, isOver: () => isOver };
}

export function openSocket(topics, after, told) {
  const socket = new WebSocket(`${gateway.replace("http", "ws")}/stream`, "pylon.v1");
  let silence = 0;
  const state = once(told, () => { clearTimeout(silence); socket.close(); });
  const heard = () => { clearTimeout(silence); silence = setTimeout(state.lost, SILENT_MS); };
  const say = (message) => socket.send(JSON.stringify(message));
  const hear = {
    welcome: async (range) => {
      if (range.auth === "required") return say({ type: "auth", ticket: await freshTicket() });
      told.opened(range);
      say({ type: "subscribe", topics, detail: "summary", after: after(range) });
    },
    event: (event) => told.event(event.event, event.sequence, event.data, event.created_at),
    caught_up: ({ sequence }) => told.caughtUp(sequence),
    heartbeat: ({ newest }) => told.nothingUpTo(newest),
  };
  heard();
  socket.onmessage = async ({ data }) => {
    if (state.isOver()) return;
    heard();
    const message = JSON.parse(data);
    try { await hear[message.type]?.(message); } catch (error) { state.lost(error.message); }
  };
  socket.onclose = ({ code }) => state.lost(code);
  return state.end;
}

export function openStream(topics, after, told) {
  let source = null;
  const state = once(told, () => source?.close());
  const open = async () => {
    const asked = new URLSearchParams({ topics, detail: "summary" });
    const from = after();
    if (from !== null) asked.set("after", from);
    if (ticketsAt) asked.set("ticket", await freshTicket());
    if (state.isOver()) return;
    source = new EventSource(`${gateway}/beckn/broadcast?${asked}`);
    source.onopen = () => told.opened();
    source.onerror = () => state.lost();
    const take = ({ type, lastEventId, data }) => told.event(type, Number(lastEventId), JSON.parse(data));
    for (const type of TYPES) source.addEventListener(type, take);
  };
  open().catch((error) => state.lost(error.message));
  return state.end;
}

export function openPolling(topics, after, told) {
  let timer = 0;
  let next = after();
  const state = once(told, () => clearTimeout(timer));
  const poll = async () => {
    // With nothing known yet, beyond the last: the answer, of another log, says where that is.
    const asked = new URLSearchParams({ topics, detail: "summary", after: next ?? 0, limit: next === null ? 1 : 100 });
    const answer = await fetch(`${gateway}/beckn/broadcast/poll?${asked}`, { cache: "no-store" });
    if (state.isOver()) return;
    if (!answer.ok) return state.lost(answer.status === 409 ? 4409 : answer.status);
    const found = await answer.json();
    if (next !== null) for (const one of found.events) told.event(one.type, one.sequence, one.data, one.created_at);
    next = next === null ? found.newest ?? 0 : found.next;
    told.nothingUpTo(next);
    told.opened();
    timer = setTimeout(() => poll().catch(() => state.lost()), found.events.length > 1 ? 0 : POLL_MS);
  };
  poll().catch(() => state.lost());
  return state.end;
}
