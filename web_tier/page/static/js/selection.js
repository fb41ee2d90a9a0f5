// Which photos are selected: by click, by range, by keyboard.

/** @typedef {import('./entries.js').Entry} Entry */

/** Fires 'change'. */
export class Selection extends EventTarget {
  /** @type {Set<Entry>} */ #chosen = new Set();
  /** Where a range begins. @type {Entry|null} */ #anchor = null;

  get size() {
    return this.#chosen.size;
  }

  /** @returns {Entry[]} */
  get entries() {
    return [...this.#chosen];
  }

  /** @param {Entry} entry */
  has(entry) {
    return this.#chosen.has(entry);
  }

  /** @param {Entry} entry */
  toggle(entry) {
    if (!this.#chosen.delete(entry)) this.#chosen.add(entry);
    this.#anchor = entry;
    this.#changed();
  }

  /** Select from the last chosen one to this one. @param {Entry} entry @param {Entry[]} among in the order on show */
  extend(entry, among) {
    const from = this.#anchor ? among.indexOf(this.#anchor) : -1;
    const to = among.indexOf(entry);
    if (from < 0 || to < 0) {
      this.toggle(entry);
      return;
    }
    for (const one of among.slice(Math.min(from, to), Math.max(from, to) + 1)) this.#chosen.add(one);
    this.#changed();
  }

  /** @param {Entry[]} entries */
  all(entries) {
    this.#chosen = new Set(entries);
    this.#changed();
  }

  clear() {
    if (!this.#chosen.size) return;
    this.#chosen.clear();
    this.#anchor = null;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}
