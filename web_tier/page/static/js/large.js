// The photos of a batch too large for the browser's memory: pages of them from the server, and what is uploaded from here.

import { call, query, results } from './api.js';
import { collator, phaseOf } from './entries.js';
import { Pages } from './pages.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./entries.js').Wanted} Wanted */
/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */

/** From how many photos on a batch counts as large. */
export const LARGE = 5000;
const REFRESH_MS = 1000;
const TAGS_MS = 5000;
const TYPING_MS = 250;
const TOP_TAGS = 12;
/** @type {Record<Wanted['show'], string|null>} */
const STATUS = { all: null, tagged: 'succeeded', failed: 'failed', waiting: 'queued', cancelled: 'cancelled' };
const NOTHING = { total: 0, completed: 0, failed: 0, cancelled: 0 };

/** The server's parameters for a filter; in the order of upload a cursor is a position. @param {Wanted} wanted @returns {Record<string, string|number|null>} */
export function asked({ show, text, chip, atLeast, order }) {
  const tag = chip ? { tag: chip } : { q: text.trim() || null };
  return { status: STATUS[show], ...tag, min_confidence: atLeast || null, order: order === 'name' ? null : order };
}

/** The photos on the server, followed by those still here. */
export class Listing {
  /** @param {Pages} pages @param {Entry[]} local @param {string} key the filter */
  constructor(pages, local, key) {
    this.pages = pages;
    this.local = local;
    this.key = key;
  }

  get length() {
    return this.pages.length + this.local.length;
  }

  /** @param {number} index @returns {Entry|undefined} */
  at(index) {
    return index < this.pages.length ? this.pages.at(index) : this.local[index - this.pages.length];
  }

  /** @param {Entry} entry */
  indexOf(entry) {
    const here = entry.item ? -1 : this.local.indexOf(entry);
    return here < 0 ? this.pages.indexOf(entry) : this.pages.length + here;
  }

  /** @param {string} who @param {number} from @param {number} to */
  near(who, from, to) {
    this.pages.near(who, from, to);
  }

  /** @param {number} from @param {number} to excluded */
  between(from, to) {
    return this.pages.between(from, Math.min(to, this.pages.length));
  }
}

export class LargeEntries {
  /** Files to be uploaded. @type {Entry[]} */ #pending;
  /** Files that were not taken. @type {Entry[]} */ #refused = [];
  #counts = NOTHING;
  #made = 0;
  /** All photos, in the order of upload. */ #all;
  /** The photos that pass a filter. @type {{key: string, text: string, pages: Pages}|null} */ #found = null;
  /** @type {[string, number][]} */ #tags = [];
  #tagsAt = -Infinity;
  #refreshedAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #refreshing;
  /** The number of dropped files that were in the batch already. */ copies = 0;
  /** Finds entries that are in use though their page is not kept. @type {(imageId: string) => Entry|undefined} */ inUse = () => undefined;

  /** @param {string} batchId @param {Entry[]} local not stored yet @param {() => void} changed */
  constructor(batchId, local, changed) {
    this.batchId = batchId;
    this.changed = changed;
    this.#pending = local;
    this.sort(local);
    this.#all = this.#pages({}, { positional: true });
  }

  /** @param {Record<string, any>} filter @param {{positional: boolean, waitMs?: number}} options */
  #pages(filter, options) {
    return new Pages(
      {
        load: (cursor, limit, signal) => results(this.batchId, { limit, cursor, ...filter }, signal),
        adopt: (item) => this.#adopt(item),
        changed: this.changed,
      },
      options,
    );
  }

  /** @param {Item} item @returns {Entry} */
  #adopt(item) {
    const { image_id: key, name, bytes } = item;
    return this.inUse(key) ?? this.#all.find(key) ?? { key, name, bytes, file: null, upload: null, item, hay: '' };
  }

  /** Take in the batch's counts. @param {Batch} batch @param {boolean} changed photos may have changed though the counts are the same */
  counted({ request_counts: counts }, changed) {
    if (!changed && JSON.stringify(counts) === JSON.stringify(this.#counts)) return;
    this.#counts = counts;
    this.#all.length = counts.total;
    this.#refreshSoon();
    this.#askForTags();
  }

  #refreshSoon() {
    if (this.#refreshing !== undefined) return;
    const wait = Math.max(0, this.#refreshedAt + REFRESH_MS - performance.now());
    this.#refreshing = setTimeout(() => {
      this.#refreshing = undefined;
      this.#refreshedAt = performance.now();
      this.#all.refresh();
      this.#found?.pages.refresh();
    }, wait);
  }

  async #askForTags() {
    if (performance.now() - this.#tagsAt < TAGS_MS) return;
    this.#tagsAt = performance.now();
    try {
      /** @type {{tags: {name: string, count: number}[]}} */
      const { tags } = await call(`/tags${query({ batch_id: this.batchId, limit: TOP_TAGS })}`);
      this.#tags = tags.map(({ name, count }) => [name, count]);
      this.changed();
    } catch {
      // the filter works without suggestions
    }
  }

  /** @param {import('./dropping.js').Measured[]} found @returns {Entry[]} in the order in which to upload them */
  addFiles(found) {
    const made = found.map(({ file, name, bytes }) => ({ key: `local-${this.#made++}`, name, bytes, file, upload: null, item: null, hay: '' }));
    made.sort((a, b) => collator.compare(a.name, b.name));
    this.#pending = this.#pending.concat(made);
    return made;
  }

  /** Take in the answer to an upload: from now on the server has the photo. @param {Entry} entry @param {Item} _item */
  stored(entry, _item) {
    for (const list of [this.#pending, this.#refused]) {
      const at = list.indexOf(entry); // near the beginning, as the upload has the same order
      if (at >= 0) list.splice(at, 1);
    }
  }

  /** Sort files into those to be uploaded and those not taken. @param {Entry[]} changed */
  sort(changed) {
    const wrong = changed.filter((entry) => (phaseOf(entry) === 'refused') !== this.#refused.includes(entry) && entry.upload);
    if (!wrong.length) return;
    const moved = new Set(wrong);
    const rest = [...this.#pending, ...this.#refused].filter((entry) => !moved.has(entry));
    const all = [...rest, ...wrong];
    this.#refused = all.filter((entry) => phaseOf(entry) === 'refused');
    this.#pending = all.filter((entry) => phaseOf(entry) !== 'refused');
  }

  /** Take in a photo after an edit. @param {Item} item */
  update(item) {
    for (const pages of [this.#all, this.#found?.pages]) {
      const entry = pages?.find(item.image_id);
      if (entry) entry.item = item;
    }
    const used = this.inUse(item.image_id);
    if (used) used.item = item;
  }

  retried() {
    this.#refreshSoon();
  }

  counts() {
    const { total, completed, failed, cancelled } = this.#counts;
    const [pending, refused] = [this.#pending.length, this.#refused.length];
    return {
      all: total + pending + refused,
      tagged: completed - failed - cancelled,
      failed: failed + refused,
      waiting: total - completed + pending,
      cancelled,
      refused,
    };
  }

  /** The most frequent tags. @param {number} n @returns {[string, number][]} */
  topTags(n) {
    return this.#tags.slice(0, n);
  }

  /** @param {Wanted} wanted @returns {Listing} */
  filter(wanted) {
    const filter = asked(wanted);
    const key = query(filter);
    const local = wanted.text.trim() || wanted.chip ? [] : this.#local(wanted.show);
    if (!key) {
      this.#found?.pages.close();
      this.#found = null;
      return new Listing(this.#all, local, key);
    }
    if (this.#found?.key !== key) {
      const typing = !wanted.chip && wanted.text.trim() !== (this.#found?.text ?? '');
      this.#found?.pages.close();
      this.#found = { key, text: wanted.text.trim(), pages: this.#pages(filter, { positional: false, waitMs: typing ? TYPING_MS : 0 }) };
    }
    return new Listing(this.#found.pages, local, key);
  }

  /** @param {Wanted['show']} show */
  #local(show) {
    if (show === 'waiting') return this.#pending;
    if (show === 'failed') return this.#refused;
    if (show !== 'all') return [];
    return this.#refused.length ? [...this.#refused, ...this.#pending] : this.#pending;
  }

  /** Walk through the tagged photos that pass a filter, in groups. @param {Wanted} wanted @returns {AsyncGenerator<Item[]>} */
  async *walk(wanted) {
    const filter = { ...asked(wanted), status: 'succeeded', order: null }; // its cursors stay right while photos stop to match
    /** @type {string|null} */
    let cursor = null;
    do {
      /** @type {{results: Item[], next_cursor: string|null}} */
      const page = await results(this.batchId, { limit: 500, cursor, ...filter });
      yield page.results;
      cursor = page.next_cursor;
    } while (cursor);
  }

  /** Abort all requests. */
  close() {
    clearTimeout(this.#refreshing);
    this.#refreshing = undefined;
    this.#all.close();
    this.#found?.pages.close();
  }
}
