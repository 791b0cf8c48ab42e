// Every page's script: clocks and ages, the map's slider, live updates, forms. A page is whole without it.
import { followClock } from "./clock.js";
import { attachMap } from "./map.js";
import { attachForms } from "./forms.js";
import { followEvents } from "./live.js";

followClock();
attachMap();
attachForms();
if (document.body.dataset.section) followEvents();
