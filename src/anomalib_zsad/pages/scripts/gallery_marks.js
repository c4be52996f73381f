// What a reader marks: selection, tags and notes. They stay in this browser, and leave it as files alone.

import { make } from "./dom.js";

export class Marks {
  constructor(names, key) {
    Object.assign(this, { names, key, selected: new Set(), tags: new Map(), notes: new Map() });
    this.load();
  }

  load() {
    let stored = null;
    try {
      stored = JSON.parse(window.localStorage.getItem(this.key));
    } catch {
      return; // a browser may forbid it: marks then last as long as the page is open
    }
    if (!stored) return;
    const places = new Map(this.names.map((name, number) => [name, number]));
    const known = (pairs) =>
      (pairs ?? []).filter(([name]) => places.has(name)).map(([name, value]) => [places.get(name), value]);
    this.selected = new Set((stored.selected ?? []).filter((name) => places.has(name)).map((name) => places.get(name)));
    this.tags = new Map(known(stored.tags));
    this.notes = new Map(known(stored.notes));
  }

  save() {
    const named = (pairs) => [...pairs].map(([number, value]) => [this.names[number], value]);
    const stored = {
      selected: [...this.selected].map((number) => this.names[number]),
      tags: named(this.tags),
      notes: named(this.notes),
    };
    try {
      window.localStorage.setItem(this.key, JSON.stringify(stored));
    } catch {
      // see above
    }
  }

  select(number, chosen) {
    if (chosen) this.selected.add(number);
    else this.selected.delete(number);
    this.save();
  }

  setTags(number, tags) {
    if (tags.length) this.tags.set(number, tags);
    else this.tags.delete(number);
    this.save();
  }

  addTags(numbers, tags) {
    for (const number of numbers) this.setTags(number, [...new Set([...(this.tags.get(number) ?? []), ...tags])]);
  }

  note(number, text) {
    if (text.trim()) this.notes.set(number, text);
    else this.notes.delete(number);
    this.save();
  }

  knownTags() {
    return [...new Set([...this.tags.values()].flat())].sort();
  }
}

// A file for the reader, made in the page.
export function offerFile(name, text, type) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
