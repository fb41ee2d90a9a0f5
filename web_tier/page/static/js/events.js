// Follow a batch by its event stream, and poll while the stream is quiet.

import { ROOT, connection, getBatch, lost, query, results } from './api.js';
import { isFinal } from './entries.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */

/** Whether the batch is over. @param {Batch} batch */
export const isOver = ({ status }) => status === 'completed' || status === 'cancelled' || status === 'expired';

const QUIET_MS = 2000;
const PAGE = 1000;

/**
 * Call `onItem` and `onBatch` with changes, until the batch is over or `stop()`.
 *
 * EventSource resumes by itself after a broken connection, but gives up at an HTTP error; then a new one
 * continues where the old one ended. While the stream is quiet, this polls the batch and, if it changed, its
 * results: so the page works behind proxies that hold streams back.
 */
export class Follower {
  /** @type {EventSource|null} */ #source = null;
  #lastId = '';
  #heardAt = 0;
  #finishing = false;
  #stopped = false;
  /** Images whose result is known. @type {Set<string>} */ #final = new Set();
  /** @type {number|undefined} */ #timer;

  /**
   * @param {string} batchId
   * @param {{onItem: (item: Item) => void, onBatch: (batch: Batch, changed: boolean) => void, onGone: (message: string) => void}} listener
   * @param {boolean} counting leave out the items
   */
  constructor(batchId, listener, counting) {
    this.batchId = batchId;
    this.listener = listener;
    this.counting = counting;
  }

  async start() {
    let batch;
    try {
      batch = await getBatch(this.batchId);
    } catch (error) {
      const failure = /** @type {import('./api.js').ApiError} */ (error);
      if (!failure.passing) {
        this.listener.onGone(failure.message);
        return;
      }
      await connection.pause(1);
      if (!this.#stopped) this.start();
      return;
    }
    if (this.#stopped) return;
    this.listener.onBatch(batch, false);
    if (isOver(batch)) {
      await this.#finish(batch);
      return;
    }
    this.#open();
    this.#timer = setInterval(() => {
      if (this.#source?.readyState === EventSource.CLOSED && !connection.away) this.#open();
      if (performance.now() - this.#heardAt >= QUIET_MS) this.#ask();
    }, QUIET_MS);
    connection.addEventListener('back', this.#reopen);
  }

  stop() {
    this.#stopped = true;
    this.#source?.close();
    clearInterval(this.#timer);
    connection.removeEventListener('back', this.#reopen);
  }

  /** Reconnect at once, where the browser would wait some seconds. */
  #reopen = () => {
    if (this.#source?.readyState === EventSource.OPEN) return;
    this.#source?.close();
    this.#open();
  };

  /** Leave out the items from now on: there are too many. */
  count() {
    this.counting = true;
    if (!this.#source || this.#stopped) return;
    this.#source.close();
    this.#open();
  }

  #open() {
    const from = query(this.counting ? { items: 'false' } : { last_event_id: this.#lastId });
    const source = new EventSource(`${ROOT}/batches/${encodeURIComponent(this.batchId)}/events${from}`);
    this.#source = source;
    source.addEventListener('item', (event) => {
      this.#heard(event);
      this.#item(JSON.parse(event.data));
    });
    source.addEventListener('batch', (event) => {
      this.#heard(event);
      const batch = JSON.parse(event.data);
      if (!isOver(batch)) {
        this.listener.onBatch(batch, true);
        return;
      }
      source.close();
      this.#finish(batch);
    });
    source.addEventListener('error', () => this.#ask()); // find out whether only the stream broke, or the server is away
    source.addEventListener('completed', (event) => {
      this.#heard(event);
      source.close();
      this.#finish(JSON.parse(event.data));
    });
  }

  /** @param {MessageEvent} event */
  #heard(event) {
    this.#heardAt = performance.now();
    if (event.lastEventId) this.#lastId = event.lastEventId;
  }

  /** @param {Item} item */
  #item(item) {
    if (isFinal(item)) this.#final.add(item.image_id);
    this.listener.onItem(item);
  }

  async #ask() {
    if (this.#stopped || connection.away) return;
    try {
      const batch = await getBatch(this.batchId);
      if (this.#stopped) return;
      if (isOver(batch)) {
        await this.#finish(batch);
        return;
      }
      this.listener.onBatch(batch, false);
      if (!this.counting && batch.request_counts.completed > this.#final.size) await this.#catchUp();
    } catch (error) {
      if (/** @type {import('./api.js').ApiError} */ (error).away) lost();
    }
  }

  async #catchUp() {
    /** @type {string|null} */
    let cursor = null;
    do {
      /** @type {{results: Item[], next_cursor: string|null}} */
      const page = await results(this.batchId, { limit: PAGE, cursor });
      if (this.#stopped || this.counting) return;
      page.results.forEach((item) => this.#item(item));
      cursor = page.next_cursor;
    } while (cursor);
  }

  /** @param {Batch} batch */
  async #finish(batch) {
    if (this.#finishing) return;
    this.#finishing = true;
    while (!this.counting && this.#final.size < batch.request_counts.completed && !this.#stopped) {
      try {
        await this.#catchUp();
        break;
      } catch {
        await connection.pause(1);
      }
    }
    if (this.#stopped) return;
    this.stop();
    this.listener.onBatch(batch, false);
  }
}
