// The place in the page's address: `#slice=5`.

export function sliceInAddress(hash) {
  const number = new URLSearchParams(hash.replace(/^#/, "")).get("slice");
  return number !== null && /^\d+$/.test(number) ? Number(number) : null;
}

export function addressOf(slice) {
  return `#slice=${slice}`;
}
