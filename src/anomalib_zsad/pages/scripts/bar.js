// The scale of an overlay.

import { formatScore } from "./pure/words.js";

// The scale's colours with numbers below: its ends, and the threshold where it lies between.
export function drawBar(bar, scale, threshold) {
  bar.hidden = !scale;
  if (!scale) return;
  const canvas = bar.querySelector("canvas");
  const context = canvas.getContext("2d");
  scale.colours.forEach((colour, place) => {
    context.fillStyle = colour;
    context.fillRect(place, 0, 1, 1);
  });
  const share = (threshold - scale.low) / (scale.high - scale.low);
  const between = threshold !== null && share >= 0 && share <= 1;
  const ticks = [[0, scale.low, ""], ...(between ? [[share, threshold, "threshold"]] : []), [1, scale.high, ""]];
  const list = bar.querySelector("div");
  list.replaceChildren(...ticks.map(([place, value, name]) => tick(place, value, name)));
  bar.setAttribute("aria-label", `Colours from ${formatScore(scale.low)} to ${formatScore(scale.high)}`);
}

function tick(place, value, name) {
  const mark = document.createElement("span");
  mark.className = name || "end";
  mark.textContent = name ? `▲ ${formatScore(value)}` : formatScore(value);
  mark.title = name;
  mark.style.left = `${100 * place}%`;
  mark.style.transform = `translateX(${-100 * place}%)`;
  return mark;
}
