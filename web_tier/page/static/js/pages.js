// A list of photos on the server, of which only the pages near the window are in memory.

import { connection } from './api.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./types.js').Item} Item */
/** @typedef {{results: Item[], next_cursor: string|null}} Page */
/**
 * @typedef {object} Source
 * @property {(cursor: string|null, limit: number, signal?: AbortSignal) => Promise<Page>} load
 * @property {(item: Item) => Entry} adopt make an entry, or return the one that is in use elsewhere
 * @property {() => void} changed called when photos have arrived
 */

export const SIZE = 100;
const KEPT = 30;
const AT_ONCE = 3;
const SETTLE_MS = 120;

/**
 * 1. Who shows photos says which range is `near`. Its pages are loaded, and then the next one in the direction of the movement.
 * 2. Requests for pages that are no longer near are aborted. After that the next ones wait until the movement rests.
 * 3. Of the other pages only the ones used last are kept.
 * 4. With a known length, any page can be loaded (its cursor is a position). Without one, a page can be loaded once
 *    the one before it was: the list grows while somebody reads it.
 */
export class Pages {
  /** @type {Map<number, {entries: Entry[], stale: boolean}>} the one used last at the end */ #pages = new Map();
  /** @type {Map<number, AbortController>} */ #loading = new Map();
  /** @type {Map<string, {from: number, to: number, forward: boolean}>} */ #near = new Map();
  /** Cursors by page, if the length is not known. @type {(string|null)[]|null} */ #cursors;
  #planned = '';
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #pausing;
  #length = 0;
  /** Whether the whole length is known. */ ended = false;
  /** Why no more can be loaded. */ trouble = '';

  /** @param {Source} source @param {{positional: boolean, waitMs?: number}} options `waitMs` before the first request */
  constructor(source, { positional, waitMs = 0 }) {
    this.source = source;
    this.#cursors = positional ? null : [null];
    this.ended = positional;
    if (waitMs) this.#pause(waitMs);
  }

  get length() {
    return this.#length;
  }

  /** @param {number} length of a list whose length is known */
  set length(length) {
    this.#length = length;
  }

  /** Whether requests are under way or about to be. */
  get busy() {
    return this.#loading.size > 0 || this.#pausing !== undefined;
  }

  /** @param {number} index @returns {Entry|undefined} undefined until it is loaded */
  at(index) {
    return this.#pages.get(Math.floor(index / SIZE))?.entries[index % SIZE];
  }

  /** Find a photo among the loaded ones. @param {string} imageId @returns {Entry|undefined} */
  find(imageId) {
    for (const { entries } of this.#pages.values()) {
      const found = entries.find(({ item }) => item?.image_id === imageId);
      if (found) return found;
    }
    return undefined;
  }

  /** @param {Entry} entry @returns {number} -1 if it is not loaded */
  indexOf(entry) {
    for (const [page, { entries }] of this.#pages) {
      const at = entries.indexOf(entry);
      if (at >= 0) return page * SIZE + at;
    }
    return -1;
  }

  /** The loaded photos. @returns {Entry[]} */
  get loaded() {
    return [...this.#pages.values()].flatMap(({ entries }) => entries);
  }

  /** Say which photos are shown or about to be; an empty range ends that. @param {string} who @param {number} from @param {number} to excluded */
  near(who, from, to) {
    const before = this.#near.get(who);
    if (to <= from) this.#near.delete(who);
    else this.#near.set(who, { from, to, forward: !before || (from === before.from ? before.forward : from > before.from) });
    this.#plan();
  }

  /** Load the shown pages again, as something has changed on the server, and forget the others. */
  refresh() {
    const shown = new Set(this.#needed(false));
    for (const [page, kept] of this.#pages) {
      if (shown.has(page)) kept.stale = true;
      else this.#pages.delete(page);
    }
    this.#plan();
  }

  /** Abort all requests. */
  close() {
    clearTimeout(this.#pausing);
    this.#pausing = undefined;
    for (const request of this.#loading.values()) request.abort();
    this.#loading.clear();
    this.#near.clear();
  }

  /** Load a range, without keeping it here. @param {number} from @param {number} to excluded @returns {Promise<Entry[]>} */
  async between(from, to) {
    /** @type {Entry[]} */
    const found = [];
    for (let page = Math.floor(from / SIZE); page * SIZE < to; page += 1) {
      const entries = this.#pages.get(page)?.entries ?? (await this.source.load(this.#cursorOf(page), SIZE)).results.map(this.source.adopt);
      found.push(...entries.slice(Math.max(0, from - page * SIZE), to - page * SIZE));
    }
    return found;
  }

  /** @param {number} page @returns {string|null} */
  #cursorOf(page) {
    if (this.#cursors) return this.#cursors[page];
    return page ? String(page * SIZE) : null;
  }

  /** The pages to load, the most urgent first. @param {boolean} ahead with the next ones @returns {number[]} */
  #needed(ahead) {
    const shown = new Set();
    const next = new Set();
    for (const { from, to, forward } of this.#near.values()) {
      const first = Math.floor(Math.max(0, from) / SIZE);
      const last = Math.floor(Math.max(0, to - 1) / SIZE);
      for (let page = first; page <= last; page += 1) shown.add(page);
      next.add(forward ? last + 1 : first - 1);
    }
    const most = this.#cursors ? this.#cursors.length : Math.ceil(this.#length / SIZE);
    return [...new Set([...shown, ...(ahead ? next : [])])].filter((page) => page >= 0 && page < most);
  }

  #plan() {
    const pages = this.#needed(true);
    if (String(pages) !== this.#planned) {
      this.#planned = String(pages);
      let moved = this.#pausing !== undefined;
      for (const [page, request] of this.#loading) {
        if (pages.includes(page)) continue;
        request.abort();
        this.#loading.delete(page);
        moved = true;
      }
      if (moved) {
        this.#pause(SETTLE_MS);
        return;
      }
    }
    if (this.#pausing === undefined) this.#start(pages);
  }

  /** @param {number} ms */
  #pause(ms) {
    clearTimeout(this.#pausing);
    this.#pausing = setTimeout(() => {
      this.#pausing = undefined;
      this.#start(this.#needed(true));
    }, ms);
  }

  /** @param {number[]} pages */
  #start(pages) {
    for (const page of pages) {
      const kept = this.#pages.get(page);
      if (kept) {
        this.#pages.delete(page);
        this.#pages.set(page, kept);
      }
      if ((!kept || kept.stale) && !this.trouble && !this.#loading.has(page) && this.#loading.size < AT_ONCE) this.#load(page);
    }
    for (const page of this.#pages.keys()) {
      if (this.#pages.size <= KEPT) break;
      if (!pages.includes(page)) this.#pages.delete(page);
    }
  }

  /** @param {number} page */
  async #load(page) {
    const request = new AbortController();
    this.#loading.set(page, request);
    try {
      const answer = await this.source.load(this.#cursorOf(page), SIZE, request.signal);
      if (request.signal.aborted) return;
      this.#take(page, answer);
    } catch (error) {
      if (request.signal.aborted) return;
      const failure = /** @type {import('./api.js').ApiError} */ (error);
      if (failure.passing) await connection.pause(Math.max(1, failure.retryAfter));
      else this.trouble = failure.message;
    }
    if (this.#loading.get(page) === request) this.#loading.delete(page);
    if (!request.signal.aborted) this.source.changed();
  }

  /** @param {number} page @param {Page} answer */
  #take(page, { results, next_cursor: next }) {
    const old = new Map(this.#pages.get(page)?.entries.map((entry) => [entry.item?.image_id, entry]));
    const entries = results.map((item) => {
      const entry = old.get(item.image_id) ?? this.source.adopt(item);
      if (JSON.stringify(entry.item) !== JSON.stringify(item)) entry.item = item; // a card is redrawn if its item is another
      return entry;
    });
    this.#pages.delete(page);
    this.#pages.set(page, { entries, stale: false });
    if (this.#cursors) this.#grow(page, entries.length, next, this.#cursors);
  }

  /** Note what a page says about the length and about the next page. @param {number} page @param {number} found @param {string|null} next @param {(string|null)[]} cursors */
  #grow(page, found, next, cursors) {
    const last = cursors.length - 1;
    if (page < last && next === cursors[page + 1]) return;
    for (let after = page + 1; after <= last; after += 1) this.#pages.delete(after); // other photos are there now
    cursors.length = page + 1;
    this.ended = next === null;
    if (next !== null) cursors.push(next);
    this.#length = page * SIZE + found;
  }
}
