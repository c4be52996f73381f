// Two series side by side; where one goes, the other follows.

const series = JSON.parse(document.getElementById("data").textContent);
const sides = ["left", "right"].map((name) => ({
  choice: document.getElementById(`${name}-series`),
  frame: document.getElementById(`${name}-frame`),
}));
const PARALLEL = 0.87; // cosine of 30 degrees
const latest = [null, null];

function asked() {
  const names = new URLSearchParams(location.hash.slice(1))
    .getAll("series")
    .filter((name) => series.some((one) => one.name === name));
  const first = names[0] ?? series[0].name;
  const { study } = series.find((one) => one.name === first);
  const others = series.filter((one) => one.name !== first);
  return [first, names[1] ?? (others.find((one) => one.study === study) ?? others[0] ?? series[0]).name];
}

function show() {
  sides.forEach((side) => {
    const { address, label } = series.find((one) => one.name === side.choice.value);
    side.frame.title = label;
    if (side.frame.getAttribute("src") !== address) side.frame.setAttribute("src", address);
  });
  latest.fill(null);
  const query = new URLSearchParams(sides.map((side) => ["series", side.choice.value]));
  history.replaceState(null, "", `#${query}`);
}

function parallel(a, b) {
  if (!a || !b) return true;
  const dot = (x, y) => x.reduce((sum, value, axis) => sum + value * y[axis], 0);
  return Math.abs(dot(a, b)) >= PARALLEL * Math.sqrt(dot(a, a) * dot(b, b));
}

function onMessage(event) {
  const place = sides.findIndex((side) => side.frame.contentWindow === event.source);
  if (place < 0 || event.data?.linked !== "place") return;
  latest[place] = event.data;
  const other = latest[1 - place];
  const fits = parallel(latest[place].normal, other?.normal);
  document.getElementById("planes").hidden = fits;
  // The one that follows tells its place as well: it is asked to go nowhere in turn while it does.
  if (!document.getElementById("linked").checked || !fits || follower === place) {
    if (follower === place) follower = -1;
    return;
  }
  follow(place);
}

let follower = -1;

function follow(place) {
  const { at, share } = latest[place];
  follower = 1 - place;
  sides[1 - place].frame.contentWindow.postMessage({ linked: "go", at, share }, "*");
  clearTimeout(follow.timer);
  follow.timer = setTimeout(() => (follower = -1), 400);
}

for (const side of sides) {
  side.choice.append(...series.map(({ name, label }) => new Option(label, name)));
  side.choice.addEventListener("change", show);
}
window.addEventListener("message", onMessage);
window.addEventListener("hashchange", start);
document.getElementById("swap").addEventListener("click", () => {
  [sides[0].choice.value, sides[1].choice.value] = [sides[1].choice.value, sides[0].choice.value];
  show();
});

function start() {
  for (const [place, name] of asked().entries()) sides[place].choice.value = name;
  show();
}

start();
