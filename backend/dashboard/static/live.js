// One connection of this tab to the gateway: a stream of events, or where that cannot be had, a question every 5 s.
// An event is a reason to look again: what is shown comes from the API server alone.
import { refreshSoon } from "./refresh.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;
const POLL_MS = 5000;
const HIDDEN_MS = 30000;
const ANNOUNCE_MS = 10000;
const TRIES_BEFORE_POLLING = 3;
const POLLS_BEFORE_STREAMING = 12;
const TOPICS = {
  now: ["grid", "sources"],
  workloads: ["decisions", "workloads"],
  data_centres: ["grid", "data_centres", "decisions", "workloads"],
  savings: ["workloads"],
};
const WORKLOAD_STATES = ["started", "deferred", "displaced", "completed", "failed", "cancelled", "moved", "expired"];
const ORDER_STATES = ["confirmed", "running", "completed", "failed", "cancelled"];
const EVENT_TYPES = [
  "decision", "grid.updated", "source.stale", "source.fresh", "data_centre.changed",
  ...WORKLOAD_STATES.map((state) => `workload.${state}`),
  ...ORDER_STATES.map((state) => `order.${state}`),
];

const gateway = document.body.dataset.gateway;
const topics = TOPICS[document.body.dataset.section] ?? ["decisions"];
let source = null;
let last = null;
let failures = 0;
let polls = 0;
let timer = 0;
let hiding = 0;
let unspoken = 0;
let newest = "";
let speaking = 0;

export function followEvents() {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(pause, HIDDEN_MS);
    else if (!source && !timer) { connect(); refreshSoon(); }
  });
  connect();
}

function say(state, words) {
  const place = document.getElementById("connection");
  place.dataset.state = state;
  place.textContent = words;
}

function query() {
  const asked = new URLSearchParams({ topics: topics.join(","), detail: "summary" });
  if (last !== null) asked.set("after", last);
  return asked;
}

async function connect() {
  clearTimeout(timer);
  timer = 0;
  const asked = query();
  try {
    const ticket = await ticketIfNeeded();
    if (ticket) asked.set("ticket", ticket);
  } catch {
    return again();
  }
  source = new EventSource(`${gateway}/beckn/broadcast?${asked}`);
  source.onopen = () => { failures = 0; say("live", "live"); };
  source.onerror = () => { close(); again(); };
  for (const type of EVENT_TYPES) {
    source.addEventListener(type, (event) => take(type, event.lastEventId, event.data));
  }
}

// A stream of another origin takes no header and no cookie of ours: a ticket, good once, stands for whoever signed in.
async function ticketIfNeeded() {
  if (!document.body.dataset.ticket) return null;
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(document.body.dataset.ticket, { method: "POST", headers, body: "{}" });
  if (!answer.ok) throw new Error(String(answer.status));
  return (await answer.json()).ticket;
}

function close() {
  source?.close();
  source = null;
}

function again() {
  failures += 1;
  if (failures > TRIES_BEFORE_POLLING && !document.body.dataset.ticket) return poll();
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1));
  say("reconnecting", "reconnecting");
  timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
}

async function poll() {
  try {
    const answer = await fetch(`${gateway}/beckn/broadcast/poll?${query()}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const found = await answer.json();
    const isFirst = last === null;
    last = found.next;
    say("polling", "polling every 5 s");
    if (!isFirst) for (const one of found.events) take(one.event ?? "decision", null, JSON.stringify(one.data ?? {}));
    polls += 1;
    if (polls % POLLS_BEFORE_STREAMING === 0) { failures = 0; return connect(); }
    timer = setTimeout(poll, POLL_MS);
  } catch {
    failures += 1;
    say("reconnecting", "no live updates");
    timer = setTimeout(poll, Math.min(LONGEST_WAIT_MS, POLL_MS * failures) * (0.5 + Math.random() / 2));
  }
}

function pause() {
  clearTimeout(timer);
  timer = 0;
  close();
  say("paused", "paused");
}

function take(type, sequence, text) {
  if (sequence) last = sequence;
  let data = {};
  try { data = JSON.parse(text); } catch { /* looking again needs no summary */ }
  document.dispatchEvent(new CustomEvent("pylon:event", { detail: { type, data } }));
  unspoken += 1;
  newest = String(data.job_id ?? data.task?.job_id ?? type);
  speaking ||= setTimeout(speak, ANNOUNCE_MS);
  refreshSoon();
}

function speak() {
  speaking = 0;
  document.getElementById("spoken").textContent = `${unspoken} new event${unspoken === 1 ? "" : "s"}, newest ${newest}`;
  unspoken = 0;
}
