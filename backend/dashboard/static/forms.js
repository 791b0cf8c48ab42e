// Forms whose answer changes something: sent as JSON, with faults told at their fields.
export function attachForms() {
  for (const form of document.querySelectorAll("form[data-json]")) {
    form.addEventListener("submit", (event) => {
      if (event.submitter?.dataset.plain !== undefined) return; // asks only: its address is the question
      event.preventDefault();
      send(form, event.submitter);
    });
  }
  for (const piece of document.querySelectorAll("[data-needs-script]")) piece.hidden = false;
}

function documentOf(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.value === "" || field.dataset.left === "out") continue;
    const kind = field.dataset.kind || field.type;
    if (kind === "number") found[field.name] = Number(field.value);
    else if (kind === "datetime-local") found[field.name] = new Date(`${field.value}Z`).toISOString();
    else found[field.name] = field.value;
  }
  return found;
}

async function send(form, button) {
  const place = form.querySelector("[data-answer]");
  clear(form, place);
  if (button) button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.dataset.json, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(documentOf(form)),
    });
    const told = await answer.json();
    if (answer.ok) onward(form, told);
    else refused(form, place, answer.status, told);
  } catch {
    say(place, "The server does not answer. Nothing is lost: try again.");
  } finally {
    if (button) button.disabled = false;
    form.removeAttribute("aria-busy");
  }
}

function onward(form, told) {
  const shown = form.querySelector("[data-shown]");
  if (shown && told.key) { // shown this once: the page must not be loaded anew over it
    shown.textContent = told.key;
    shown.closest("[data-shown-with]").hidden = false;
    return shown.focus();
  }
  const job = told.workloads?.[0]?.job_id;
  if (job) location.assign(`/dashboard/workloads/${encodeURIComponent(job)}`);
  else location.reload();
}

function clear(form, place) {
  for (const fault of form.querySelectorAll(".field-error")) fault.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
  if (place) { place.textContent = ""; place.hidden = true; }
}

function refused(form, place, status, told) {
  let first = null;
  for (const fault of told.errors || []) {
    const field = form.elements.namedItem(fault.field);
    if (!field || !field.id) continue;
    const words = document.createElement("p");
    words.className = "field-error";
    words.id = `${field.id}-fault`;
    words.textContent = fault.message;
    field.after(words);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", words.id);
    first ??= field;
  }
  say(place, status === 401 ? "This needs a credential: sign in first." : told.detail || `The server refused this (${status}).`);
  first?.focus();
}

function say(place, words) {
  if (!place) return;
  place.textContent = words;
  place.hidden = false;
}
