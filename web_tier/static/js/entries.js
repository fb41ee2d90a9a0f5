// The photos of one batch: what was dropped here, joined with what the server knows.

/** @typedef {import('./types.js').Item} Item */
/** @typedef {{state: 'waiting'|'sending'|'retrying'|'stuck'|'refused', sent: number, reason: string}} Upload */
/** @typedef {'uploading'|'waiting'|'tagged'|'failed'|'refused'} Phase */
/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} name
 * @property {number} bytes
 * @property {File|null} file here in the browser; null where another session uploaded it
 * @property {Upload|null} upload null once the server has it
 * @property {Item|null} item
 * @property {string} hay what the free-text filter looks through
 */

/** @param {Entry} entry @returns {Phase} */
export function phaseOf(entry) {
  if (entry.item?.status === 'succeeded') return 'tagged';
  if (entry.item?.status === 'failed') return 'failed';
  if (entry.upload?.state === 'refused' || entry.upload?.state === 'stuck') return 'refused';
  return entry.item || !entry.upload ? 'waiting' : 'uploading';
}

/** Why a photo has no tags; the name is beside it, so the sentence goes without. @param {Entry} entry */
export function failureOf({ name, item, upload }) {
  const reason = item?.error ?? upload?.reason ?? '';
  if (!reason.startsWith(`${name}: `)) return reason;
  const bare = reason.slice(name.length + 2);
  return bare.charAt(0).toUpperCase() + bare.slice(1);
}

/** The filter's button that an entry belongs to. @param {Entry} entry @returns {'tagged'|'failed'|'waiting'} */
export function bucketOf(entry) {
  const phase = phaseOf(entry);
  if (phase === 'tagged') return 'tagged';
  return phase === 'failed' || phase === 'refused' ? 'failed' : 'waiting';
}

const collator = new Intl.Collator('en', { numeric: true }); // IMG_9 before IMG_10

/** By name, as in a file manager: the same before and after a reload. @param {Entry} a @param {Entry} b */
const byName = (a, b) => collator.compare(a.name, b.name) || (a.key < b.key ? -1 : 1);

/** @param {Item} item */
const isFinal = (item) => item.status === 'succeeded' || item.status === 'failed';

export class Entries {
  /** @type {Entry[]} */ #all = [];
  /** @type {Map<string, Entry>} */ #byImage = new Map();
  /** @type {Map<string, Entry[]>} */ #unmatched = new Map();
  #sorted = true;
  #made = 0;
  /** Dropped files that the batch had already. */
  copies = 0;

  /** In order of their names. */
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
      const hay = name.toLowerCase();
      const entry = { key: `local-${number}`, name, bytes, file, upload: null, item: null, hay };
      const twin = matchKey(name, bytes);
      this.#unmatched.set(twin, [...(this.#unmatched.get(twin) ?? []), entry]);
      return entry;
    });
    this.#all.push(...made);
    this.#sorted = false;
    return made.sort(byName);
  }

  /** The answer to an upload; the stream may have told of the image already. @param {Entry} entry @param {Item} item */
  stored(entry, item) {
    this.#forgetUnmatched(entry);
    const known = this.#byImage.get(item.image_id);
    if (known && known !== entry) {
      this.#all = this.#all.filter((other) => other !== entry);
      if (known.name === entry.name) this.copies += 1;
      return;
    }
    this.#byImage.set(item.image_id, entry);
    if (!entry.item || !isFinal(entry.item)) this.#take(entry, item);
  }

  /** What the server says of an image. @param {Item} item @returns {Entry} */
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

  /** `refused` ones are among the failed, and the server knows nothing of them. */
  counts() {
    const counts = { all: this.#all.length, tagged: 0, failed: 0, waiting: 0, refused: 0 };
    for (const entry of this.#all) {
      counts[bucketOf(entry)] += 1;
      if (phaseOf(entry) === 'refused') counts.refused += 1;
    }
    return counts;
  }

  /** @param {string} show a bucket, or "all" @param {string} text @returns {Entry[]} */
  filter(show, text) {
    const needle = text.trim().toLowerCase();
    if (show === 'all' && !needle) return this.all;
    return this.all.filter((entry) => (show === 'all' || bucketOf(entry) === show) && entry.hay.includes(needle));
  }

  /** The tags that most photos show first. @param {number} n @returns {[string, number][]} */
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
    entry.hay = [entry.name, ...item.tags.map((tag) => tag.name)].join('\n').toLowerCase();
  }

  /** @param {Entry} entry */
  #forgetUnmatched(entry) {
    const twin = matchKey(entry.name, entry.bytes);
    const rest = (this.#unmatched.get(twin) ?? []).filter((one) => one !== entry);
    if (rest.length) this.#unmatched.set(twin, rest);
    else this.#unmatched.delete(twin);
  }
}

/** @param {string} name @param {number} bytes */
const matchKey = (name, bytes) => `${bytes} ${name}`;
