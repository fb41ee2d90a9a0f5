// One batch as this browser knows it: its photos, its upload from here, its progress on the server.

import { ApiError, cancelBatch, closeBatch, connection, createBatch, retryBatch } from './api.js';
import { Entries } from './entries.js';
import { Follower, isOver } from './events.js';
import { LARGE, LargeEntries } from './large.js';
import { Uploader } from './upload.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */
/** @typedef {import('./dropping.js').Measured} Measured */

const MAX_REQUEST_BYTES = Number(document.body.dataset.maxRequestMb) * 2 ** 20 * 0.99; // leave room for the rest of the request

/** The title of a new batch. @param {Measured[]} found */
export function titleOf(found) {
  const folders = new Set(found.map(({ name }) => (name.includes('/') ? name.split('/')[0] : '')));
  const [first] = folders;
  if (folders.size === 1 && first) return first;
  const { name } = found[0];
  const rest = found.length - 1;
  return rest ? `${name.split('/').at(-1)} and ${rest} more` : name;
}

/** Make a key, also on pages without TLS, where crypto.randomUUID is missing. */
const randomKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** Fires 'change' when anything about the batch changes. */
export class Session extends EventTarget {
  /** @type {Batch|null} */ batch = null;
  /** @type {Entries|LargeEntries} */ entries = new Entries();
  /** @type {Uploader|null} */ uploader = null;
  /** Why there is nothing to show. */ missing = '';
  /** Why the batch could not be closed. */ trouble = '';
  #closing = false;

  /** @param {string} id */
  constructor(id) {
    super();
    this.id = id;
    this.follower = this.#follow();
  }

  #follow() {
    const listener = {
      onItem: (/** @type {Item} */ item) => {
        if (!this.large) this.entries.update(item);
        this.#changed();
      },
      onBatch: (/** @type {Batch} */ batch, /** @type {boolean} */ changed) => {
        this.batch = batch;
        if (batch.request_counts.total > LARGE) this.#enlarge();
        this.large?.counted(batch, changed);
        this.#changed();
      },
      onGone: (/** @type {string} */ message) => {
        this.missing = message;
        this.#changed();
      },
    };
    return new Follower(this.id, listener, this.large !== null);
  }

  /** The photos, if they are too many to keep them all here. */
  get large() {
    return this.entries instanceof LargeEntries ? this.entries : null;
  }

  /** Keep only what is shown from now on. */
  #enlarge() {
    if (!(this.entries instanceof Entries)) return;
    const { copies, local } = this.entries;
    this.entries = new LargeEntries(this.id, local, () => this.#changed());
    this.entries.copies = copies;
    if (this.batch) this.entries.counted(this.batch, false);
    this.follower.count();
  }

  /**
   * Create a batch for dropped files; wait while the server is away.
   * @param {Measured[]} found @param {import('./asking.js').Wanted} wanted @param {(text: string) => void} say @returns {Promise<Session>}
   * @throws {ApiError} if the server refuses for good
   */
  static async create(found, wanted, say) {
    const key = randomKey();
    for (;;) {
      try {
        const session = new Session((await createBatch(wanted, { title: titleOf(found) }, key)).id);
        session.add(found);
        return session;
      } catch (error) {
        if (!(error instanceof ApiError) || !error.passing) throw error;
        say(`${error.message} Trying again.`);
        await connection.pause(Math.max(1, error.retryAfter));
      }
    }
  }

  start() {
    this.follower.start();
  }

  stop() {
    this.follower.stop();
    this.large?.close();
  }

  get uploading() {
    return this.uploader?.busy ?? false;
  }

  /** Whether photos can still be added. */
  get open() {
    return !this.#closing && !this.missing && (this.batch === null || this.batch.status === 'open');
  }

  /** @param {Measured[]} found */
  add(found) {
    if (!this.uploader) {
      this.uploader = new Uploader(this.id, MAX_REQUEST_BYTES);
      this.uploader.addEventListener('change', (event) => {
        this.large?.sort(/** @type {CustomEvent} */ (event).detail);
        this.#closeIfDone();
        this.#changed();
      });
      this.uploader.addEventListener('stored', (event) => {
        for (const { entry, item } of /** @type {CustomEvent} */ (event).detail) this.entries.stored(entry, item);
      });
    }
    if (this.entries instanceof Entries && this.entries.size + found.length > LARGE) this.#enlarge();
    this.uploader.add(this.entries.addFiles(found));
    this.#closeIfDone();
    this.#changed();
  }

  /** Close the batch: no more photos come. */
  async close() {
    if (this.#closing) return;
    this.#closing = true;
    for (;;) {
      try {
        const batch = await closeBatch(this.id);
        if (!this.batch || !isOver(this.batch)) this.batch = batch;
        this.trouble = '';
        this.#changed();
        return;
      } catch (error) {
        const failure = /** @type {ApiError} */ (error);
        this.trouble = failure.message;
        this.#changed();
        if (!failure.passing) return;
        await connection.pause(Math.max(1, failure.retryAfter));
      }
    }
  }

  /** Retry failed photos. @param {string[]} [imageIds] without ids, all of them */
  async retry(imageIds) {
    const { batch } = await retryBatch(this.id, imageIds);
    const chosen = imageIds && new Set(imageIds);
    this.entries.retried((item) => item.status === 'failed' && (!chosen || chosen.has(item.image_id)));
    this.batch = batch;
    this.follower.stop();
    this.follower = this.#follow(); // the old one may have ended with the batch
    this.follower.start();
    this.#changed();
  }

  /** Cancel the batch, and end the upload from here. */
  async cancel() {
    this.#closing = true;
    this.uploader?.abandon();
    this.batch = await cancelBatch(this.id);
    this.#changed();
  }

  /** Take in photos after an edit. @param {Item[]} items */
  edited(items) {
    for (const item of items) if (item.batch_id === this.id) this.entries.update(item);
    this.#changed();
  }

  #closeIfDone() {
    if (this.uploader && !this.uploader.busy && !this.uploader.stuck.size) this.close();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}
