// The index of a run: its table, filtered and sorted. Of a long list only the first rows are shown; more on request.

import { byId, make } from "./dom.js";
import { chooseEntries, valuesOf } from "./pure/run_model.js";
import { inWords } from "./pure/words.js";

const AT_ONCE = 200;
const CHOICES = ["status", "modality", "decision"];

const list = { entries: [], chosen: [], shown: AT_ONCE };

function entryOf(row, place) {
  const { series, status, modality, decision, score, std, images } = row.dataset;
  const number = (text) => (text ? Number(text) : null);
  return {
    row,
    place,
    series,
    status,
    modality,
    decision: decision ?? "",
    score: number(score),
    std: number(std),
    images: number(images),
    text: row.textContent.toLowerCase(),
  };
}

function choose() {
  const asked = { search: byId("search").value, sort: byId("sort").value };
  for (const name of CHOICES) asked[name] = byId(name).value;
  list.chosen = chooseEntries(list.entries, asked);
  list.shown = AT_ONCE;
  show();
}

function show() {
  const rows = list.chosen.slice(0, list.shown).map((entry) => entry.row);
  for (const entry of list.entries) entry.row.hidden = true;
  for (const row of rows) row.hidden = false;
  byId("series").tBodies[0].prepend(...rows);
  const count = (number) => number.toLocaleString("en");
  const [some, all, left] = [list.chosen.length, list.entries.length, list.chosen.length - rows.length];
  byId("count").textContent = some === all ? `${count(all)} entries` : `${count(some)} of ${count(all)} entries`;
  byId("none").hidden = some > 0;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${count(Math.min(AT_ONCE, left))} more of ${count(left)}`;
}

function more() {
  const next = list.chosen[list.shown]?.row;
  list.shown += AT_ONCE;
  show();
  next?.querySelector("a")?.focus(); // the button moved away below
}

function offer(name) {
  const found = valuesOf(list.entries, name);
  for (const [value, count] of found) {
    const words = name === "decision" ? inWords(value) : value;
    const option = make("option", "", `${words} (${count.toLocaleString("en")})`);
    option.value = value;
    byId(name).append(option);
  }
  byId(name).closest("label").hidden = found.length < 2;
  byId(name).addEventListener("change", choose);
}

function listen() {
  byId("search").addEventListener("input", choose);
  byId("sort").addEventListener("change", choose);
  byId("more").addEventListener("click", more);
  window.addEventListener("beforeprint", () => {
    list.before = list.shown;
    list.shown = list.entries.length;
    show();
  });
  window.addEventListener("afterprint", () => {
    list.shown = list.before;
    show();
  });
}

if (byId("tools")) {
  list.entries = [...byId("series").tBodies[0].rows].map(entryOf);
  for (const name of CHOICES) offer(name);
  byId("tools").hidden = false;
  listen();
  choose();
}
