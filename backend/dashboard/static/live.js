// Follows the gateway's events: by the first door that opens, from where the last connection ended. An event changes the
// row that it is about at once, and is a reason to look again: what is shown comes from the API server.
import { openPolling, openSocket, openStream } from "./doors.js";
import { refresh, refreshSoon } from "./refresh.js";
import { drawEvent } from "./rows.js";

// Polling takes no ticket.
const DOORS = document.body.dataset.ticket ? [openSocket, openStream] : [openSocket, openStream, openPolling];
const WORDS = ["live", "live", "polling every 5 s"];
const TRIES = [2, 1, 1];
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;
const BETTER_DOOR_AFTER_MS = 60000;
const HIDDEN_MS = 30000;
const LOOK_EVERY_MS = 60000;
const ANNOUNCE_MS = 10000;
const TOLD_MS = 10000;
const LOOK_BACK = 20;
const DOUBT_MS = 2000;
const TOPICS = {
  now: ["grid", "sources", "decisions", "workloads"],
  workloads: ["decisions", "workloads"],
  data_centres: ["grid", "data_centres", "decisions", "workloads"],
  decisions: ["decisions"],
  orders: ["orders"],
  flexibility: ["grid"],
  operations: ["grid", "sources", "agents", "decisions", "workloads"],
  savings: ["workloads"],
};
const topics = TOPICS[document.body.dataset.section] ?? ["decisions"];

let door = 0;
let failures = 0;
let rounds = 0;
let close = null;
let timer = 0;
let last = null;
let wasLost = false;
let isAnew = false;
let missed = 0;
let hiding = 0;
let unspoken = 0;
let newest = "";
let speaking = 0;
let madeAt = 0;

export function followEvents() {
  madeAt = Date.parse(document.querySelector("[data-clock=utc]")?.dateTime) || 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(pause, HIDDEN_MS);
    else if (!close && !timer) connect();
  });
  // Hours go by without an event, and a database goes away without one.
  setInterval(() => { if (!document.hidden) refreshSoon(); }, LOOK_EVERY_MS);
  connect();
}

function show(state, words) {
  const place = document.getElementById("connection");
  place.dataset.state = state;
  if (place.textContent !== words) place.textContent = words;
}

function connect() {
  clearTimeout(timer);
  timer = 0;
  let hasOpened = false;
  const isBack = wasLost;
  const isFirst = last === null;
  missed = 0;
  const told = {
    opened(range) {
      if (hasOpened) return;
      hasOpened = true;
      failures = rounds = 0;
      showOpen();
      // Beside a socket nothing tells what came between the page and its first event, or has been pruned meanwhile.
      if (isBack || door > 0) refreshSoon(Math.random() * 2 * FIRST_WAIT_MS);
      if (isAnew) tellOf("of another database: all is shown anew");
      else if (range?.oldest > last + 1 && !isFirst) tellOf(`events ${last + 1} to ${range.oldest - 1} are no longer kept`);
      wasLost = isAnew = false;
      if (door === 0) return;
      setTimeout(() => told.caughtUp(last), FIRST_WAIT_MS); // as good as
      timer = setTimeout(() => { close?.(); door = 0; connect(); }, BETTER_DOOR_AFTER_MS);
    },
    event(type, sequence, data, at) {
      if (sequence <= last) return;
      last = sequence;
      // The first connection looks back a little; what is older than the page is on it.
      if (!(isFirst && Date.parse(at) < madeAt - DOUBT_MS)) take(type, data);
    },
    caughtUp(sequence) {
      last = sequence;
      if (isBack && missed) tellOf(`with ${missed} missed event${missed === 1 ? "" : "s"}`);
    },
    nothingUpTo(sequence) { last = sequence; },
    lost,
  };
  const lookBack = (range) => Math.max((range.oldest ?? 1) - 1, (range.newest ?? 0) - LOOK_BACK, 0);
  close = DOORS[door](topics, (range) => last ?? (range ? lookBack(range) : null), told);
}

function lost(code) {
  close = null;
  clearTimeout(timer);
  wasLost = true;
  if (code === 401) refresh(); // which leads to the form
  if (code === 403 || code === 4403) return show("off", "no live updates: this credential may not listen");
  if (code === 4409) { // of another database
    last = null;
    isAnew = true;
  }
  failures += 1;
  if (failures >= TRIES[door]) {
    failures = 0;
    door = (door + 1) % DOORS.length;
    if (door === 0) {
      rounds += 1;
      refreshSoon(); // nobody tells what happens: look
    }
  }
  show("reconnecting", rounds ? "no live updates: the gateway does not answer" : "reconnecting");
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** rounds);
  timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
}

function pause() {
  clearTimeout(timer);
  timer = 0;
  close?.();
  close = null;
  wasLost = true;
  show("paused", "paused");
}

function showOpen(more = "") {
  show(door < 2 ? "live" : "polling", WORDS[door] + more);
}

function tellOf(words) {
  showOpen(`, ${words}`);
  setTimeout(() => { if (close && !wasLost) showOpen(); }, TOLD_MS);
}

function take(type, data) {
  missed += 1;
  drawEvent(data);
  unspoken += 1;
  newest = String(data.job_id ?? data.source ?? type);
  speaking ||= setTimeout(speak, ANNOUNCE_MS);
  // Everybody hears of the grid at once: not everybody asks at once.
  refreshSoon(/^(grid|source)\./.test(type) ? Math.random() * 2 * FIRST_WAIT_MS : undefined);
}

function speak() {
  speaking = 0;
  document.getElementById("spoken").textContent = `${unspoken} new event${unspoken === 1 ? "" : "s"}, newest ${newest}`;
  unspoken = 0;
}
