// Elements: found, made, filled.

const SVG = "http://www.w3.org/2000/svg";

export function byId(name) {
  return document.getElementById(name);
}

export function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function svgElement(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Pairs of name and value as a list of terms.
export function listFacts(list, facts) {
  list.replaceChildren(
    ...facts.map(([name, value]) => {
      const line = make("div");
      line.append(make("dt", "", name), make("dd", "", value));
      return line;
    }),
  );
}

// A function that does its work at most once a frame of the screen, however often it is called.
export function oncePerFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
