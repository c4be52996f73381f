// A list of any length: only the tiles near the window exist. Arrows, home and end move the focus through all of them.

const GAP = 12;
const AHEAD = 2; // rows that exist above and below the window

export class VirtualList {
  // `make(image)` makes a tile; `tile` says how large tiles are.
  constructor(box, makeTile, measure) {
    Object.assign(this, { box, makeTile, measure, images: [], tiles: new Map(), current: 0 });
    new ResizeObserver(() => this.layOut()).observe(box);
    window.addEventListener("scroll", () => this.draw(), { passive: true });
    window.addEventListener("resize", () => this.layOut());
    box.addEventListener("keydown", (event) => this.onKey(event));
    box.addEventListener("focusin", (event) => this.onFocus(event));
  }

  show(images) {
    this.images = images;
    this.current = Math.min(this.current, Math.max(0, images.length - 1));
    this.clear();
    this.layOut();
  }

  clear() {
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  layOut() {
    const { width, height } = this.measure();
    const room = this.box.clientWidth;
    this.columns = Math.max(1, Math.floor((room + GAP) / (width + GAP)));
    this.width = (room - GAP * (this.columns - 1)) / this.columns;
    this.height = height;
    this.rows = Math.ceil(this.images.length / this.columns);
    this.box.style.height = `${Math.max(0, this.rows * (height + GAP) - GAP)}px`;
    this.draw();
  }

  // Places of the first and last tile that exist, for where the window is.
  span() {
    const top = -this.box.getBoundingClientRect().top;
    const step = this.height + GAP;
    const first = Math.max(0, Math.floor(top / step) - AHEAD);
    const last = Math.min(this.rows - 1, Math.floor((top + window.innerHeight) / step) + AHEAD);
    return [first * this.columns, Math.min(this.images.length, (last + 1) * this.columns)];
  }

  draw() {
    if (!this.columns) return;
    const [first, end] = this.span();
    for (const [place, tile] of this.tiles) {
      if ((place < first || place >= end) && place !== this.current) {
        tile.remove();
        this.tiles.delete(place);
      }
    }
    for (let place = first; place < end; place++) this.tileAt(place);
    if (this.images.length) this.tileAt(this.current); // the keyboard comes in here, in sight or not
  }

  tileAt(place) {
    let tile = this.tiles.get(place);
    if (!tile) {
      tile = this.makeTile(this.images[place], place);
      tile.setAttribute("role", "listitem");
      tile.setAttribute("aria-setsize", this.images.length);
      tile.setAttribute("aria-posinset", place + 1);
      tile.dataset.place = place;
      this.tiles.set(place, tile);
      this.box.insertBefore(tile, this.follower(place));
    }
    const row = Math.floor(place / this.columns);
    const column = place % this.columns;
    tile.style.width = `${this.width}px`;
    tile.style.height = `${this.height}px`;
    tile.style.transform = `translate(${column * (this.width + GAP)}px, ${row * (this.height + GAP)}px)`;
    tile.querySelector(".open").tabIndex = place === this.current ? 0 : -1;
    return tile;
  }

  // Tiles stand in the document in the order of the list, whatever order they were made in.
  follower(place) {
    return [...this.box.children].find((tile) => Number(tile.dataset.place) > place) ?? null;
  }

  onFocus(event) {
    const place = Number(event.target.closest("[data-place]")?.dataset.place ?? this.current);
    if (place === this.current) return;
    const before = this.tiles.get(this.current);
    if (before) before.querySelector(".open").tabIndex = -1;
    this.current = place;
    this.tiles.get(place).querySelector(".open").tabIndex = 0;
  }

  onKey(event) {
    if (!event.target.matches(".open") || event.ctrlKey || event.altKey || event.metaKey) return;
    const page = this.columns * Math.max(1, Math.floor(window.innerHeight / (this.height + GAP)));
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -page,
      PageDown: page,
    };
    const last = this.images.length - 1;
    const target = { Home: 0, End: last }[event.key] ?? (event.key in steps ? this.current + steps[event.key] : null);
    if (target === null) return;
    event.preventDefault();
    this.focus(Math.min(last, Math.max(0, target)));
  }

  // The focus on the tile at a place, which comes into sight.
  focus(place) {
    if (place < 0 || place >= this.images.length) return;
    const before = this.tiles.get(this.current);
    if (before) before.querySelector(".open").tabIndex = -1;
    this.current = place;
    const top = Math.floor(place / this.columns) * (this.height + GAP) + this.box.getBoundingClientRect().top;
    if (top < 0) window.scrollBy(0, top - GAP);
    else if (top + this.height > window.innerHeight) window.scrollBy(0, top + this.height + GAP - window.innerHeight);
    this.draw();
    this.tileAt(place).querySelector(".open").focus({ preventScroll: true });
  }
}
