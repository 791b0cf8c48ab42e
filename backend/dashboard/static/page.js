// Every page's script: clocks and ages, the map's slider, live updates, forms. A page is whole without it.
import { followClock } from "./clock.js";
import { attachMap } from "./map.js";
import { attachForms } from "./forms.js";
import { followEvents } from "./live.js";
import { countDown } from "./refresh.js";

followClock();
attachMap();
attachForms();
if (document.body.dataset.section) followEvents();

const away = document.querySelector("[data-retry]");
if (away) countDown(away.querySelector("[data-countdown]"), ".", Number(away.dataset.retry), () => location.reload());

// Before the first figures are there, nothing tells of their arrival: a database's first run has no event.
if (document.body.dataset.section === "now" && !document.querySelector("#newest time")) {
  setTimeout(() => location.reload(), 5000);
}
