// Tables from the 256 codes of a stored picture to packed pixels (red, green, blue, alpha in the order of canvases).

export const pack = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

// Codes as greys.
export const GREYS = Uint32Array.from({ length: 256 }, (_, code) => pack(code, code, code, 255));

// Value of each code through a window.
export function windowTable(values, width, level) {
  const lower = level - width / 2;
  return Uint32Array.from(values, (value) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, (value - lower) / width)));
    return pack(grey, grey, grey, 255);
  });
}

// Colours of a stored map: clear at the scale's low end, nearly opaque from about three quarters of it on.
export function colourTable(stored, scale) {
  const table = new Uint32Array(256);
  for (let code = 0; code < 256; code++) {
    const value = stored.low + ((stored.high - stored.low) * code) / 255;
    const place = Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
    const colour = parseInt(scale.colours[Math.round(255 * place)].slice(1), 16);
    const alpha = Math.round(255 * Math.min(1, 1.6 * place ** 1.5));
    table[code] = pack(colour >> 16, (colour >> 8) & 255, colour & 255, alpha);
  }
  return table;
}
