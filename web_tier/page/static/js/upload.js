// Upload many files in a few parallel requests, and retry failures.

import { alive, connection, lost, signedIn } from './api.js';
import { recognise } from './recognise.js';
import { send } from './transfer.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./types.js').Item} Item */

const GROUP_FILES = 8;
const GROUP_BYTES = 4e6;
const AT_ONCE = 4; // of the six connections that browsers open to a host
const LOOK_FILES = 64;
const LOOK_BYTES = 64e6;
const ATTEMPTS = 6;
const LONGEST_PAUSE_S = 15;
const RATE_WINDOW_MS = 5000;

/**
 * Return the files of the next request: small ones together, a large one alone.
 * @template {{bytes: number}} T
 * @param {T[]} queue @returns {T[]} a beginning of `queue`, one at least
 */
export const nextGroup = (queue) => beginning(queue, GROUP_FILES, GROUP_BYTES);

/** @template {{bytes: number}} T @param {T[]} queue @param {number} files @param {number} most bytes @returns {T[]} */
function beginning(queue, files, most) {
  let bytes = 0;
  let n = 0;
  while (n < queue.length && n < files && (n === 0 || bytes + queue[n].bytes <= most)) bytes += queue[n++].bytes;
  return queue.slice(0, n);
}

/** Seconds until the next try: exponential, with jitter so that parallel requests spread. @param {number} attempt from 1 */
const backOff = (attempt) => Math.min(LONGEST_PAUSE_S, 0.5 * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);

/** The upload into one batch. Fires 'change' (detail: Entry[]) and 'stored' (detail: {entry, item}[]). */
export class Uploader extends EventTarget {
  /** Files not yet compared with those on the server. @type {Entry[]} */ #unseen = [];
  #looking = false;
  /** @type {Entry[]} */ #queue = [];
  /** @type {Set<Entry[]>} */ #active = new Set();
  /** @type {{at: number, bytes: number}[]} */ #samples = [];
  /** Totals of this upload. */ total = { files: 0, bytes: 0 };
  settled = { files: 0, bytes: 0 };
  /** The number of files that the server had already. */ recognised = 0;
  /** Given up for now; a later try may succeed. @type {Set<Entry>} */ stuck = new Set();

  /** @param {string} batchId @param {number} maxBytes a larger file is never sent: the server would hang up on it */
  constructor(batchId, maxBytes) {
    super();
    this.batchId = batchId;
    this.maxBytes = maxBytes;
  }

  get busy() {
    return this.#looking || this.#unseen.length + this.#queue.length + this.#active.size > 0;
  }

  /** Bytes sent, including those in flight. */
  get sent() {
    let bytes = this.settled.bytes;
    for (const group of this.#active) for (const entry of group) bytes += entry.upload?.sent ?? 0;
    return bytes;
  }

  /** Bytes per second over the last few seconds; 0 until known. @param {number} now ms */
  rate(now) {
    this.#samples.push({ at: now, bytes: this.sent });
    while (this.#samples.length > 2 && now - this.#samples[0].at > RATE_WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0];
    return now - first.at < 300 ? 0 : Math.max(0, ((this.sent - first.bytes) / (now - first.at)) * 1000);
  }

  /** @param {Entry[]} entries */
  add(entries) {
    for (const entry of entries) {
      this.total.files += 1;
      this.total.bytes += entry.bytes;
      entry.upload = { state: 'waiting', sent: 0, reason: '' };
    }
    const fits = entries.filter(({ bytes }) => bytes <= this.maxBytes);
    this.#unseen.push(...fits);
    if (fits.length < entries.length) this.#refuse(entries.filter(({ bytes }) => bytes > this.maxBytes), 'Too large to upload.', false);
    if (!this.#looking) this.#look();
  }

  /** Find out, ahead of the upload, which files need not be uploaded. */
  async #look() {
    this.#looking = true;
    while (this.#unseen.length) {
      const some = beginning(this.#unseen, LOOK_FILES, LOOK_BYTES);
      this.#unseen.splice(0, some.length);
      const known = await recognise(this.batchId, some);
      this.#queue.push(...some.filter((entry) => !known.has(entry)));
      if (known.size) this.#spare(known);
      this.#pump();
    }
    this.#looking = false;
    this.#changed([]);
  }

  /** Leave recognised files out of the totals, which are about uploaded bytes. @param {Map<Entry, Item>} known */
  #spare(known) {
    for (const entry of known.keys()) {
      this.total.files -= 1;
      this.total.bytes -= entry.bytes;
      entry.upload = null;
    }
    this.recognised += known.size;
    this.dispatchEvent(new CustomEvent('stored', { detail: [...known].map(([entry, item]) => ({ entry, item })) }));
  }

  /** Try stuck files again. @param {Entry[]} [entries] without entries, all of them */
  again(entries = [...this.stuck]) {
    const taken = entries.filter((entry) => this.stuck.delete(entry));
    for (const entry of taken) {
      this.total.files -= 1;
      this.total.bytes -= entry.bytes;
      this.settled.files -= 1;
      this.settled.bytes -= entry.bytes;
    }
    this.add(taken);
    this.#changed(taken);
  }

  /** Stop uploading; requests in flight may finish. */
  abandon() {
    const rest = [...this.#unseen.splice(0), ...this.#queue.splice(0), ...this.stuck];
    this.stuck.clear();
    this.#refuse(rest, 'Not uploaded: the batch was cancelled.', false);
  }

  #pump() {
    while (this.#active.size < AT_ONCE && this.#queue.length) {
      const group = nextGroup(this.#queue);
      this.#queue.splice(0, group.length);
      this.#active.add(group);
      this.#run(group).finally(() => {
        this.#active.delete(group);
        this.#pump();
        this.#changed(group);
      });
    }
  }

  /** @param {Entry[]} group */
  async #run(group) {
    for (let attempt = 1; ; attempt += 1) {
      this.#mark(group, 'sending', '');
      try {
        const items = await send(this.batchId, group.map(asFile), (sent) => this.#spread(group, sent));
        this.#store(group, items);
        return;
      } catch (error) {
        const failure = /** @type {import('./api.js').ApiError} */ (error);
        if (failure.status === 401) {
          await signedIn();
          attempt -= 1;
          continue;
        }
        if (!failure.passing) {
          await this.#refuseEach(group, failure.message);
          return;
        }
        const unreadable = failure.status === 0 ? await withoutFile(group) : [];
        if (unreadable.length) {
          this.#refuse(unreadable, 'Could not be read from your disk. Was it moved or changed?', false);
          group.splice(0, group.length, ...group.filter((entry) => !unreadable.includes(entry)));
          if (!group.length) return;
          continue;
        }
        const away = failure.away && !(await alive());
        if (away) {
          lost();
          attempt -= 1; // waiting for a server that is away does not count as an attempt
        } else if (attempt >= ATTEMPTS) {
          this.#refuse(group, failure.message, true);
          return;
        }
        const pause = Math.max(failure.retryAfter, backOff(Math.max(1, attempt)));
        this.#mark(group, 'retrying', away ? 'Waiting for the server.' : `${failure.message} Trying again.`);
        await connection.pause(pause);
      }
    }
  }

  /** Upload a refused group one by one: only some of its files may be to blame. @param {Entry[]} group @param {string} reason */
  async #refuseEach(group, reason) {
    if (group.length === 1) {
      this.#refuse(group, reason, false);
      return;
    }
    for (const entry of group) await this.#run([entry]);
  }

  /** @param {Entry[]} entries @param {string} reason @param {boolean} hopeful trying again may help */
  #refuse(entries, reason, hopeful) {
    this.#settle(entries);
    if (hopeful) entries.forEach((entry) => this.stuck.add(entry));
    this.#mark(entries, hopeful ? 'stuck' : 'refused', reason);
  }

  /** @param {Entry[]} group @param {Item[]} items */
  #store(group, items) {
    this.#settle(group);
    for (const entry of group) entry.upload = null;
    this.dispatchEvent(new CustomEvent('stored', { detail: group.map((entry, n) => ({ entry, item: items[n] })) }));
  }

  /** @param {Entry[]} entries */
  #settle(entries) {
    for (const entry of entries) {
      if (entry.upload) entry.upload.sent = 0;
      this.settled.files += 1;
      this.settled.bytes += entry.bytes;
    }
  }

  /** Spread a request's progress over its files, in their order. @param {Entry[]} group @param {number} sent bytes */
  #spread(group, sent) {
    for (const entry of group) {
      const mine = Math.min(entry.bytes, sent);
      if (entry.upload) entry.upload.sent = mine;
      sent -= mine;
    }
    this.#changed(group);
  }

  /** @param {Entry[]} entries @param {import('./entries.js').Upload['state']} state @param {string} reason */
  #mark(entries, state, reason) {
    for (const entry of entries) entry.upload = { state, sent: 0, reason };
    this.#changed(entries);
  }

  /** @param {Entry[]} entries */
  #changed(entries) {
    this.dispatchEvent(new CustomEvent('change', { detail: entries }));
  }
}

/** @param {Entry} entry */
const asFile = (entry) => ({ file: /** @type {File} */ (entry.file), name: entry.name });

/** The entries whose file is gone from the disk; browsers report it like a broken connection. @param {Entry[]} group */
async function withoutFile(group) {
  const readable = await Promise.all(group.map(({ file }) => file?.slice(0, 1).arrayBuffer().then(() => true, () => false)));
  return group.filter((_, n) => !readable[n]);
}
