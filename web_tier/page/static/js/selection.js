// Which photos are selected: by click, by range, by keyboard, or everything that passes a filter.

/** @typedef {import('./entries.js').Entry} Entry */

/** Whether it can be edited: only tagged photos can. @param {Entry} entry */
export const isTagged = (entry) => entry.item?.status === 'succeeded';

/** Fires 'change'. */
export class Selection extends EventTarget {
  /** The selected ones; with `everything`, those that are not. @type {Map<string, Entry>} */ #chosen = new Map();
  /** All tagged photos of a list, loaded or not. */ everything = false;
  /** Where a range begins. @type {Entry|null} */ anchor = null;

  /** The number of selected photos; with `everything`, of those left out. */
  get size() {
    return this.#chosen.size;
  }

  get empty() {
    return !this.everything && !this.#chosen.size;
  }

  /** The selected ones; with `everything`, those left out. @returns {Entry[]} */
  get entries() {
    return [...this.#chosen.values()];
  }

  /** @param {Entry} entry */
  has(entry) {
    return this.everything ? isTagged(entry) && !this.#chosen.has(entry.key) : this.#chosen.has(entry.key);
  }

  /** Find a selected photo, or with `everything` one left out. @param {string} key @returns {Entry|undefined} */
  find(key) {
    return this.#chosen.get(key);
  }

  /** @param {Entry} entry */
  toggle(entry) {
    if (!this.#chosen.delete(entry.key)) this.#chosen.set(entry.key, entry);
    this.anchor = entry;
    this.#changed();
  }

  /** Select from the last chosen one to this one. @param {Entry} entry @param {Entry[]} among in the order on show */
  extend(entry, among) {
    const from = this.anchor ? among.indexOf(this.anchor) : -1;
    const to = among.indexOf(entry);
    if (from < 0 || to < 0) this.toggle(entry);
    else this.add(among.slice(Math.min(from, to), Math.max(from, to) + 1));
  }

  /** @param {Entry[]} entries */
  add(entries) {
    for (const one of entries) {
      if (this.everything) this.#chosen.delete(one.key);
      else this.#chosen.set(one.key, one);
    }
    this.#changed();
  }

  /** @param {Entry[]} entries */
  all(entries) {
    this.#chosen = new Map(entries.map((entry) => [entry.key, entry]));
    this.#changed();
  }

  /** Select everything that is listed, loaded or not. */
  allListed() {
    this.#chosen.clear();
    this.everything = true;
    this.#changed();
  }

  clear() {
    if (this.empty) return;
    this.#chosen.clear();
    this.everything = false;
    this.anchor = null;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}
