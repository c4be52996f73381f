// Pictures, maps and masks: decoded when they are needed, kept while they are near.
// A picture's grey levels are codes: what they mean is in a table of the page's data, so that the window can change.

const KEPT = 48; // decoded slices
const SMALLEST_OVERLAY = 512; // coarse maps are drawn on at least this many pixels, so that their colours run smoothly

export async function decode(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

// The grey levels (or red, green, blue, alpha) of an image on a grid of a given size, smoothly enlarged.
function pixelsOf(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

export function greyOf(image, width, height) {
  const { data } = pixelsOf(image, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return { grey, width, height };
}

// Decoded records, the most recently used ones.
export class Store {
  constructor(read) {
    this.read = read; // from a key to a promise
    this.kept = new Map();
  }

  get(key) {
    const found = this.kept.get(key) ?? this.read(key);
    this.kept.delete(key);
    this.kept.set(key, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return found;
  }
}

function readMap(stored, image, width, height) {
  if (!image) return null;
  const factor = Math.max(1, Math.ceil(SMALLEST_OVERLAY / Math.max(width, height)));
  return { ...greyOf(image, width * factor, height * factor), low: stored.low, high: stored.high };
}

// A record of the page (picture, map, deviation, mask) with everything decoded; colour pictures stay images.
export async function decodeRecord(record, colour) {
  const load = (source) => (source ? decode(source) : null);
  const images = await Promise.all([
    load(record.picture),
    load(record.map?.source),
    load(record.deviation?.source),
    load(record.mask),
  ]);
  const [picture, map, deviation, mask] = images;
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  return {
    width,
    height,
    image: colour ? picture : null,
    codes: colour ? null : greyOf(picture, width, height).grey,
    map: readMap(record.map, map, width, height),
    deviation: readMap(record.deviation, deviation, width, height),
    mask: mask && greyOf(mask, mask.naturalWidth, mask.naturalHeight),
  };
}
