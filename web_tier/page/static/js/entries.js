// The photos of one batch: those dropped here, joined with what the server knows.

/** @typedef {import('./types.js').Item} Item */
/** @typedef {{state: 'waiting'|'sending'|'retrying'|'stuck'|'refused', sent: number, reason: string}} Upload */
/** @typedef {'uploading'|'waiting'|'tagged'|'failed'|'refused'|'cancelled'} Phase */
/** @typedef {'all'|'tagged'|'failed'|'waiting'|'cancelled'} Show */
/** @typedef {'name'|'latest'|'surest'|'unsure'} Order */
/** @typedef {{show: Show, text: string, chip: string, atLeast: number, order: Order}} Wanted `chip`: `text` is this whole tag; `atLeast`: confidence, 0..1 */
/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} name
 * @property {number} bytes
 * @property {File|null} file here in the browser; null if another session uploaded it
 * @property {Upload|null} upload null once the server has it
 * @property {Item|null} item
 * @property {string} hay the text that the free-text filter searches
 */

/** @param {Entry} entry @returns {Phase} */
export function phaseOf(entry) {
  if (entry.item?.status === 'succeeded') return 'tagged';
  if (entry.item?.status === 'failed') return 'failed';
  if (entry.item?.status === 'cancelled') return 'cancelled';
  if (entry.upload?.state === 'refused' || entry.upload?.state === 'stuck') return 'refused';
  return entry.item || !entry.upload ? 'waiting' : 'uploading';
}

/** Return why a photo failed, without its name, which the card shows beside it. @param {Entry} entry */
export function failureOf({ name, item, upload }) {
  const reason = item?.error ?? upload?.reason ?? '';
  if (!reason.startsWith(`${name}: `)) return reason;
  const bare = reason.slice(name.length + 2);
  return bare.charAt(0).toUpperCase() + bare.slice(1);
}

/** The status under which the filter shows an entry. @param {Entry} entry @returns {Exclude<Show, 'all'>} */
export function bucketOf(entry) {
  const phase = phaseOf(entry);
  if (phase === 'tagged' || phase === 'cancelled') return phase;
  return phase === 'failed' || phase === 'refused' ? 'failed' : 'waiting';
}

export const collator = new Intl.Collator('en', { numeric: true }); // IMG_9 before IMG_10

/** Compare by name, as file managers do; the order is the same after a reload. @param {Entry} a @param {Entry} b */
const byName = (a, b) => collator.compare(a.name, b.name) || (a.key < b.key ? -1 : 1);

/** @param {Item} item */
export const isFinal = ({ status }) => status === 'succeeded' || status === 'failed' || status === 'cancelled';

/** Whether a tag is certain enough. Tags by people and tags without a confidence always are. @param {import('./types.js').Tag} tag @param {number} atLeast */
export const isSure = (tag, atLeast) => tag.source === 'person' || tag.confidence === null || tag.confidence >= atLeast;

/** The highest confidence; photos without one come last in both orders. @param {Entry} entry */
const top = ({ item }) => Math.max(-1, ...(item?.tags ?? []).map(({ confidence }) => confidence ?? -1));

/** @type {Record<Exclude<Order, 'name'>, (a: Entry, b: Entry) => number>} */
const ORDERS = {
  latest: (a, b) => (b.item?.finished_at ?? '').localeCompare(a.item?.finished_at ?? ''),
  surest: (a, b) => top(b) - top(a),
  unsure: (a, b) => (top(a) < 0 ? 2 : top(a)) - (top(b) < 0 ? 2 : top(b)),
};

export class Entries {
  /** @type {Entry[]} */ #all = [];
  /** @type {Map<string, Entry>} */ #byImage = new Map();
  /** @type {Map<string, Entry[]>} */ #unmatched = new Map();
  #sorted = true;
  #made = 0;
  /** The number of dropped files that were in the batch already. */
  copies = 0;

  get size() {
    return this.#all.length;
  }

  /** The files that are not stored yet. */
  get local() {
    return this.#all.filter((entry) => entry.upload && !entry.item);
  }

  /** All entries, ordered by name. */
  get all() {
    if (!this.#sorted) {
      this.#all = this.#all.toSorted(byName);
      this.#sorted = true;
    }
    return this.#all;
  }

  /** @param {import('./dropping.js').Measured[]} found @returns {Entry[]} in the order in which to upload them */
  addFiles(found) {
    const made = found.map(({ file, name, bytes }) => {
      const number = String(this.#made++).padStart(9, '0');
      const hay = sought(name);
      const entry = { key: `local-${number}`, name, bytes, file, upload: null, item: null, hay };
      const twin = matchKey(name, bytes);
      this.#unmatched.set(twin, [...(this.#unmatched.get(twin) ?? []), entry]);
      return entry;
    });
    this.#all.push(...made);
    this.#sorted = false;
    return made.sort(byName);
  }

  /** Take in the answer to an upload. The event stream may have named the image before. @param {Entry} entry @param {Item} item */
  stored(entry, item) {
    this.#forgetUnmatched(entry);
    const known = this.#byImage.get(item.image_id);
    if (known && known !== entry) {
      this.#all = this.#all.filter((other) => other !== entry);
      if (sameName(known.name) === sameName(entry.name)) this.copies += 1;
      return;
    }
    this.#byImage.set(item.image_id, entry);
    if (!entry.item || !isFinal(entry.item)) this.#take(entry, item);
  }

  /** Take in what the server says about an image. @param {Item} item @returns {Entry} */
  update(item) {
    let entry = this.#byImage.get(item.image_id);
    if (!entry) {
      entry = (this.#unmatched.get(matchKey(item.name, item.bytes)) ?? []).find((one) => one.upload) ?? this.#foreign(item);
      this.#forgetUnmatched(entry);
      this.#byImage.set(item.image_id, entry);
    }
    if (!entry.item || isFinal(item) || !isFinal(entry.item)) this.#take(entry, item);
    return entry;
  }

  /** Count by status. `refused` ones count as failed too; the server does not know them. */
  counts() {
    const counts = { all: this.#all.length, tagged: 0, failed: 0, waiting: 0, cancelled: 0, refused: 0 };
    for (const entry of this.#all) {
      counts[bucketOf(entry)] += 1;
      if (phaseOf(entry) === 'refused') counts.refused += 1;
    }
    return counts;
  }

  /** @param {Wanted} wanted @returns {Entry[]} */
  filter({ show, text, atLeast, order }) {
    const needle = sought(text.trim());
    const some = this.all.filter((entry) => (show === 'all' || bucketOf(entry) === show) && matches(entry, needle, atLeast));
    return order === 'name' ? some : some.sort(ORDERS[order]);
  }

  /** Let failed photos wait again, as they are retried. @param {(item: Item) => boolean} chosen */
  retried(chosen) {
    for (const entry of this.#all) {
      if (entry.item && chosen(entry.item)) this.#take(entry, { ...entry.item, status: 'queued', error: null, finished_at: null });
    }
  }

  /** The most frequent first tags. @param {number} n @returns {[string, number][]} */
  topTags(n) {
    /** @type {Map<string, number>} */
    const seen = new Map();
    for (const { item } of this.#all) {
      const name = item?.tags[0]?.name;
      if (name) seen.set(name, (seen.get(name) ?? 0) + 1);
    }
    return [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, n);
  }

  /** @param {Item} item @returns {Entry} */
  #foreign(item) {
    const { image_id: id, name, bytes } = item;
    const entry = { key: id, name, bytes, file: null, upload: null, item: null, hay: '' };
    this.#all.push(entry);
    this.#sorted = false;
    return entry;
  }

  /** @param {Entry} entry @param {Item} item */
  #take(entry, item) {
    entry.item = item;
    entry.hay = sought([entry.name, ...item.tags.map((tag) => tag.name)].join('\n'));
  }

  /** @param {Entry} entry */
  #forgetUnmatched(entry) {
    const twin = matchKey(entry.name, entry.bytes);
    const rest = (this.#unmatched.get(twin) ?? []).filter((one) => one !== entry);
    if (rest.length) this.#unmatched.set(twin, rest);
    else this.#unmatched.delete(twin);
  }
}

/** Whether an entry passes the filter; the confidence counts for tagged photos only. @param {Entry} entry @param {string} needle in lower case @param {number} atLeast */
function matches(entry, needle, atLeast) {
  if (!entry.hay.includes(needle)) return false;
  if (!atLeast || entry.item?.status !== 'succeeded') return true;
  const sure = entry.item.tags.filter((tag) => isSure(tag, atLeast));
  return needle && !sought(entry.name).includes(needle) ? sure.some(({ name }) => sought(name).includes(needle)) : sure.length > 0;
}

/** @param {string} name @param {number} bytes */
const matchKey = (name, bytes) => `${bytes} ${sameName(name)}`;

/** Bring a name into one Unicode form: macOS uses another than other systems. @param {string} name */
const sameName = (name) => name.normalize('NFC');

/** Bring a text into the form that the free-text filter compares. @param {string} text */
const sought = (text) => sameName(text).toLowerCase();
