// Rows of a table (tbody[data-rows], tr[data-row]): changed in their place by the event that is about them, and kept where
// they are while somebody reads or points at them. What is new waits then behind a button.
import { utcWords } from "./clock.js";
import { patch } from "./patch.js";

const waiting = new WeakMap();

export function drawEvent(data) {
  const row = data.job_id && document.querySelector(`[data-row="${CSS.escape(data.job_id)}"]`);
  if (!row) return;
  const cell = (name) => row.querySelector(`[data-cell=${name}]`);
  const status = cell("status");
  if (status && data.status) {
    const shown = status.querySelector(".status") ?? status;
    shown.className = `status ${statusClass(data.status)}`;
    shown.textContent = data.status.toLowerCase().replaceAll("_", " ").replace("deferred ", "deferred: ");
  }
  const place = cell("place");
  if (place && data.dc_id) place.textContent = document.querySelector(`option[value="${CSS.escape(data.dc_id)}"]`)?.textContent ?? data.dc_id;
  const start = cell("start");
  if (start && data.starts_at) start.textContent = utcWords(new Date(data.starts_at)).replace(" UTC", "");
  delete row.dataset.drawn;
  requestAnimationFrame(() => { row.dataset.drawn = ""; });
}

function statusClass(status) {
  if (status.startsWith("DEFERRED")) return "deferred";
  return status === "PENDING" ? "pending" : status.toLowerCase();
}

function frameOf(body) {
  const table = body.closest("table");
  return table.closest(".scroll") ?? table;
}

function isBeingRead(frame) {
  return frame.contains(document.activeElement) || frame.matches(":hover") || frame.getBoundingClientRect().top < 0;
}

// Whether the rows were left where they are.
export function holdRows(body, fresh) {
  if (!body.matches("tbody[data-rows]")) return false;
  const shown = new Map([...body.rows].map((row) => [row.dataset.row, row]));
  const staying = [...fresh.rows].filter((row) => shown.has(row.dataset.row));
  const news = fresh.rows.length - staying.length;
  const isHeld = isBeingRead(frameOf(body)) && (news > 0 || staying.length < shown.size);
  if (isHeld) {
    for (const row of staying) patch(shown.get(row.dataset.row), row);
    waiting.set(body, fresh);
  }
  offer(body, isHeld, news ? `Show ${news} new` : "Show what has changed");
  return isHeld;
}

function offer(body, isHeld, words) {
  const frame = frameOf(body);
  let button = frame.previousElementSibling?.matches(".held") ? frame.previousElementSibling : null;
  if (!isHeld) return button?.remove();
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "held";
    button.addEventListener("click", () => {
      const known = new Set([...body.rows].map((row) => row.dataset.row));
      patch(body, waiting.get(body));
      button.remove();
      [...body.rows].find((row) => !known.has(row.dataset.row))?.querySelector("a")?.focus();
    });
    frame.before(button);
  }
  button.textContent = words;
}
