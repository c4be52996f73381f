// The page of an inspected folder: a grid of images sorted by score, and one of them in large.

const page = JSON.parse(byId("data").textContent);
const blocks = new Map([...document.querySelectorAll("script.image")].map((block) => [Number(block.dataset.image), block]));
const store = new Store((number) => decodeRecord(JSON.parse(blocks.get(number).textContent), true));
const BATCH = 60; // tiles added at a time
const THUMBNAIL = 300; // pixels on a side
const images = page.images.map((image, number) => ({ ...image, number }));
const chosen = { list: images, count: BATCH, open: null, overlay: "map", last: "map", opacity: 0.7, outline: true };
const large = byId("large");
const grid = byId("grid");

// The strip shows scored images by rank.
const scored = images.filter((image) => image.score !== null);
const ranks = scored.map((image, rank) => ({ ...image, slice: rank + 1 }));
const strip = new Strip(byId("strip"), ranks, page.thresholds.image, page.uncertainty, (place) => {
  strip.select(place);
  open(scored[place].number);
}, "rank");

const SORTS = {
  high: (a, b) => a.number - b.number, // the page's own order
  low: (a, b) => (a.score ?? 2) - (b.score ?? 2) || a.number - b.number,
  std: (a, b) => (b.std ?? -1) - (a.std ?? -1) || a.number - b.number,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
};

function choose() {
  const decision = document.querySelector("input[name=decision]:checked").value;
  const sought = byId("search").value.trim().toLowerCase();
  chosen.list = images
    .filter((image) => decision === "all" || image.decision === decision)
    .filter((image) => image.name.toLowerCase().includes(sought))
    .sort(SORTS[byId("sort").value]);
  chosen.count = BATCH;
  grid.replaceChildren();
  extend();
}

function extend() {
  const added = chosen.list.slice(grid.childElementCount, chosen.count);
  grid.append(...added.map(tile));
  byId("count").textContent = `${chosen.list.length.toLocaleString("en")} image${chosen.list.length === 1 ? "" : "s"}`;
  byId("more").hidden = chosen.list.length <= chosen.count;
}

function shapeOf(decision) {
  const svg = svgElement("svg", { class: `shape ${decision}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  svg.append(svgElement("path", { d: (SHAPES[decision] ?? SHAPES.blank)(5) }));
  return svg;
}

function tile(image) {
  const item = make("div", "item");
  item.setAttribute("role", "listitem");
  const button = make("button", `tile-button ${image.decision}`);
  button.type = "button";
  button.dataset.number = image.number;
  button.addEventListener("click", () => open(image.number));
  if (image.shown) {
    const canvas = make("canvas", "thumbnail");
    canvas.width = canvas.height = 1;
    canvas.dataset.number = image.number;
    seen.observe(canvas);
    button.append(canvas);
  } else button.append(make("span", "thumbnail none", image.decision === "unreadable" ? "unreadable" : "no picture stored"));
  const line = make("span", "line-score");
  line.append(shapeOf(image.decision), make("b", "", image.score === null ? "–" : formatScore(image.score)));
  if (image.std !== null) line.append(make("small", "", ` ± ${formatScore(image.std)}`));
  if (image.p !== null) line.append(make("small", "p", `p ${formatScore(image.p)}`));
  button.append(line, make("span", "name", image.name));
  button.setAttribute("aria-label", `${image.name}, ${inWords(image.decision)}${image.score === null ? "" : `, score ${formatScore(image.score)}`}`);
  item.append(button);
  return item;
}

// Thumbnails are drawn when they are about to come into sight.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    seen.unobserve(entry.target);
    drawThumbnail(entry.target);
  }
}, { rootMargin: "1600px" });

async function drawThumbnail(canvas) {
  const record = await store.get(Number(canvas.dataset.number));
  const factor = Math.min(1, THUMBNAIL / Math.max(record.width, record.height));
  resize(canvas, Math.round(record.width * factor), Math.round(record.height * factor));
  const context = canvas.getContext("2d");
  context.drawImage(record.image, 0, 0, canvas.width, canvas.height);
  if (byId("thumbnails").checked && record.map) {
    const heat = new OffscreenCanvas(1, 1);
    paintOverlay(heat, record.map, page.scales.map);
    context.globalAlpha = 0.7;
    context.drawImage(heat, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
  }
  canvas.dataset.drawn = byId("thumbnails").checked;
}

function redrawThumbnails() {
  for (const canvas of grid.querySelectorAll("canvas.thumbnail")) seen.observe(canvas);
}

function open(number) {
  chosen.open = number;
  if (!large.open) large.showModal();
  const image = images[number];
  const place = chosen.list.indexOf(image);
  byId("large-name").textContent = image.name;
  byId("rank").textContent = place < 0 ? "" : `${place + 1} of ${chosen.list.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= chosen.list.length - 1;
  if (image.score !== null) strip.select(scored.indexOf(image));
  showFacts(image);
  draw();
}

// Go so many images further in the list as it is filtered and sorted.
function step(by) {
  const place = chosen.list.indexOf(images[chosen.open]);
  const target = Math.min(chosen.list.length - 1, Math.max(0, place + by));
  if (chosen.list[target]) open(chosen.list[target].number);
}

async function draw() {
  const image = images[chosen.open];
  if (!image) return;
  byId("absent").hidden = image.shown;
  byId("frame").hidden = !image.shown;
  if (!image.shown) return;
  const record = await store.get(image.number);
  if (images[chosen.open] !== image) return;
  fit(record);
  const canvas = byId("picture");
  resize(canvas, record.width, record.height);
  canvas.getContext("2d").drawImage(record.image, 0, 0);
  paintOverlay(byId("overlay"), record[chosen.overlay], page.scales[chosen.overlay]);
  byId("overlay").style.opacity = chosen.opacity;
  drawMarks(byId("marks"), { mask: record.mask, outline: chosen.outline, ring: null });
  byId("stage").dataset.shown = `${image.number}/${chosen.overlay}/${chosen.opacity}`;
}

function fit(record) {
  const stage = byId("stage");
  const shape = record.width / record.height;
  const width = Math.min(stage.clientWidth, stage.clientHeight * shape);
  byId("frame").style.width = `${width}px`;
  byId("frame").style.height = `${width / shape}px`;
}

function showFacts(image) {
  const facts = [
    ["Decision", inWords(image.decision) + (image.flagged && image.decision !== "abnormal" ? " (flagged)" : "")],
    ...(image.score === null ? [] : [["Score", `${formatScore(image.score)}${image.std === null ? "" : ` ± ${formatScore(image.std)}`}`]]),
    ...(image.p === null ? [] : [["p-value", formatScore(image.p)]]),
    ...(image.peak === null ? [] : [["Peak of the map", formatScore(image.peak)]]),
    ...(image.at ? [["Peak at x, y", `${image.at.map((value) => value.toFixed(0)).join(", ")} px`]] : []),
    ...(image.area === null ? [] : [["Area above threshold", `${(100 * image.area).toFixed(1)} %`]]),
    ...(image.size[0] ? [["Size", `${image.size[0]} × ${image.size[1]} px`]] : []),
    ...(image.reason ? [["Reason", image.reason]] : []),
  ];
  listFacts(byId("image-facts"), facts);
}

const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

function onKey(event) {
  const target = event.target;
  if (target.matches("input[type=range], input[type=radio]") || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === " " && !target.matches("button, input")) setOverlay(chosen.overlay === "none" ? chosen.last : "none");
  else if (event.key in STEPS) step(STEPS[event.key]);
  else return;
  event.preventDefault();
}

function onStripKey(event) {
  if (event.key !== "Enter" && !(event.key in STEPS)) return;
  if (event.key === "Enter") open(scored[strip.place].number);
  else strip.select(Math.min(scored.length - 1, Math.max(0, strip.place + STEPS[event.key])));
  event.preventDefault();
}

// Back to the tile that was open last.
function onClose() {
  const number = chosen.open;
  chosen.open = null;
  grid.querySelector(`button[data-number="${number}"]`)?.focus();
}

function listen() {
  for (const choice of document.querySelectorAll("input[name=decision]")) choice.addEventListener("change", choose);
  for (const choice of document.querySelectorAll("input[name=overlay]")) choice.addEventListener("change", () => setOverlay(choice.value));
  byId("search").addEventListener("input", choose);
  byId("sort").addEventListener("change", choose);
  byId("thumbnails").addEventListener("change", redrawThumbnails);
  byId("more").addEventListener("click", () => {
    chosen.count += BATCH;
    extend();
  });
  byId("opacity").addEventListener("input", (event) => {
    chosen.opacity = Number(event.target.value) / 100;
    byId("opacity-value").textContent = `${event.target.value} %`;
    draw();
  });
  byId("outline").addEventListener("change", (event) => {
    chosen.outline = event.target.checked;
    draw();
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => large.close());
  byId("strip").addEventListener("keydown", onStripKey);
  large.addEventListener("keydown", onKey);
  large.addEventListener("close", onClose);
  new ResizeObserver(() => draw()).observe(byId("stage"));
}

listen();
setOverlay("map");
choose();
