// What the page was given to work with.

import { byId } from "./dom.js";

export const page = JSON.parse(byId("data").textContent);
