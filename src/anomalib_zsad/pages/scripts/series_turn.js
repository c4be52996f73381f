// Whose turn it is: the slice that the reader looks at is decoded and drawn before the others are, which nobody sees yet.

let ahead = 1; // how much has to come first; at the start the first slice
let started = false; // the first slice is there
const waiting = [];

function pass() {
  ahead--;
  if (ahead === 0) for (const go of waiting.splice(0)) go();
}

// Do this before anything that waits for its turn.
export async function first(work) {
  ahead++;
  try {
    return await work();
  } finally {
    pass();
  }
}

// The first slice is there, or there is none.
export function begun() {
  if (started) return;
  started = true;
  performance.mark("first slice"); // for tests/benchmarks/bench_pages.py
  pass();
}

// Wait until nothing has to come first.
export async function turn() {
  while (ahead) await new Promise((go) => waiting.push(go));
}
