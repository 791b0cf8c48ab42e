// Puts the server's newest version of the marked parts of this page in the place of those that are shown.
const DEBOUNCE_MS = 250;
let waiting = 0;
let underWay = null;

export function refreshSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(refresh, DEBOUNCE_MS);
}

export function refresh() {
  underWay ??= fetchAndReplace().finally(() => { underWay = null; });
  return underWay;
}

async function fetchAndReplace() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  } catch {
    tell("The server does not answer: what is shown is the last that it said.");
    setTimeout(refresh, 5000);
    return;
  }
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/sign-in")) return location.assign(answer.url);
  if (!answer.ok) {
    const wait = Number(answer.headers.get("Retry-After")) || 5;
    tell(`The database is away: what is shown is the last that was known. Trying again in ${wait} s.`);
    setTimeout(refresh, wait * 1000);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const place of document.querySelectorAll("[data-live][id]")) {
    const fresh = page.getElementById(place.id);
    // What somebody reads or works in stays until they have left it.
    if (!fresh || place.contains(document.activeElement)) continue;
    place.replaceChildren(...fresh.childNodes);
  }
  const newest = page.querySelector("#newest time");
  const shown = document.querySelector("#newest time");
  if (newest && shown) {
    shown.dateTime = newest.dateTime;
    shown.textContent = newest.textContent;
  }
  tell("");
  document.dispatchEvent(new CustomEvent("pylon:refreshed"));
}

function tell(words) {
  let place = document.getElementById("away");
  if (!words) return place?.remove();
  if (!place) {
    place = document.createElement("div");
    place.id = "away";
    place.className = "note bad";
    document.getElementById("content").prepend(place);
  }
  place.textContent = words;
}
