// Makes what is shown say what a fresh copy of it says, and touches nothing but what differs: whatever has the focus, is
// scrolled or laid open stays so, and no more nodes come than go.
const STAYS = { DETAILS: ["open"], INPUT: ["value", "checked"], SELECT: ["value"], TR: ["data-drawn"] };

// `leaves` says of a piece that its children are left to whoever says so.
export function patch(shown, fresh, leaves = () => false) {
  if (shown.nodeType !== Node.ELEMENT_NODE) {
    if (shown.data !== fresh.data) shown.data = fresh.data;
    return;
  }
  if ("answer" in shown.dataset) return; // what the server said to whoever asked
  patchAttributes(shown, fresh, ["hidden", ...(STAYS[shown.tagName] ?? [])]);
  if (!leaves(shown, fresh)) patchChildren(shown, fresh, leaves);
}

function patchAttributes(shown, fresh, staying) {
  for (const { name } of [...shown.attributes]) {
    if (!fresh.hasAttribute(name) && !staying.includes(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (shown.getAttribute(name) !== value && !staying.includes(name)) shown.setAttribute(name, value);
  }
}

function keyOf({ dataset, id }) {
  return dataset?.row ?? dataset?.region ?? (id || null);
}

function patchChildren(shown, fresh, leaves) {
  const keyed = new Map();
  for (const child of shown.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = shown.firstChild;
  for (const wanted of fresh.childNodes) {
    while (place?.className === "held") place = place.nextSibling; // put there by rows.js
    const key = keyOf(wanted);
    const same = key ? keyed.get(key) : place && !keyOf(place) && place.nodeName === wanted.nodeName ? place : null;
    if (!same) shown.insertBefore(document.importNode(wanted, true), place);
    else {
      if (same === place) place = place.nextSibling;
      else shown.insertBefore(same, place);
      patch(same, wanted, leaves);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}
