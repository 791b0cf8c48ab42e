// Looks at the server's newest version of this page, and changes the marked parts to it.
import { patch } from "./patch.js";
import { holdRows } from "./rows.js";

const SOON_MS = 250;
const LEAST_REST_MS = 2000;
const LONGEST_REST_MS = 30000;
// However many pages are open and however much happens, each takes so little of the server's time.
const REST_FOR_EACH = 100;
// Nothing else changes while a page is open; a plan or a back-test would be worked out anew for nothing.
const isLive = document.querySelector("[data-live][id]");
let waiting = 0;
let notBefore = 0;
let underWay = null;

export function refreshSoon(delay = SOON_MS) {
  if (isLive) waiting ||= setTimeout(refresh, Math.max(delay, notBefore - performance.now()));
}

export function refresh() {
  clearTimeout(waiting);
  waiting = 0;
  underWay ??= look().finally(() => { underWay = null; });
  return underWay;
}

async function look() {
  const began = performance.now();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  } catch {
    return tryAgain("The server does not answer: what is shown is the last that it said.", 5);
  }
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/sign-in")) return location.assign(answer.url);
  if (!answer.ok) return tryAgain(`${answer.status === 503 ? "The database is away" : "The server cannot answer"}: what is shown is the last that was known.`, Number(answer.headers.get("Retry-After")) || 5);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  notBefore = performance.now() + Math.min(LONGEST_REST_MS, LEAST_REST_MS + REST_FOR_EACH * (performance.now() - began));
  const focused = document.activeElement;
  for (const shown of document.querySelectorAll("[data-live][id], #newest")) {
    const fresh = page.getElementById(shown.id);
    if (fresh) patch(shown, fresh, holdRows);
  }
  if (focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true }); // it was moved
  document.getElementById("away")?.remove();
  document.dispatchEvent(new CustomEvent("pylon:refreshed"));
}

function tryAgain(words, seconds) {
  let place = document.getElementById("away");
  if (!place) {
    place = document.createElement("div");
    place.id = "away";
    place.className = "note bad";
    document.getElementById("content").prepend(place);
  }
  countDown(place, words, seconds, refresh);
}

export function countDown(place, words, seconds, end) {
  place.textContent = `${words} Trying again in ${seconds} s.`;
  clearTimeout(waiting);
  waiting = setTimeout(() => (seconds > 1 ? countDown(place, words, seconds - 1, end) : end()), 1000);
}
