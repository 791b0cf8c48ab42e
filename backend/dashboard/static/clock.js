// The clocks and the ages that a page shows, which go on while it is open.
const STALE_MINUTES = 45;

const utc = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});
const british = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", timeZone: "Europe/London", timeZoneName: "short",
});
// The server's clock counts: this machine's own only says how much time has gone by.
let offset = 0;

export function now() {
  return new Date(Date.now() + offset);
}

export function utcWords(moment) {
  return `${utc.format(moment).replace(/,/g, "")} UTC`;
}

export function britishWords(moment) {
  return british.format(moment);
}

export function durationWords(milliseconds) {
  const minutes = Math.round(Math.abs(milliseconds) / 60000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

function tick() {
  const moment = now();
  for (const place of document.querySelectorAll("[data-clock]")) {
    const words = place.dataset.clock === "utc" ? utcWords(moment) : britishWords(moment);
    (place.querySelector("strong") || place).textContent = words;
  }
  for (const place of document.querySelectorAll("time[data-age]")) {
    const age = moment - new Date(place.dateTime);
    place.textContent = `${durationWords(age)} old`;
    place.closest("span").classList.toggle("stale", age > STALE_MINUTES * 60000);
  }
}

export function followClock() {
  const shown = document.querySelector("[data-clock=utc]");
  if (shown) offset = new Date(shown.dateTime) - Date.now();
  if (Math.abs(offset) < 5000) offset = 0;
  setInterval(tick, 10000);
}
