// The home view: where photos are dropped, and the latest batches.

import { connection, listBatches } from './api.js';
import { batchRow, fillBatchRow } from './batchrow.js';
import { byId, sync } from './dom.js';

/** @typedef {import('./types.js').Batch} Batch */

const REFRESH_S = 2;

export class HomeView {
  #shown = false;
  #loops = 0;

  show() {
    document.title = 'Tagfleet';
    this.#shown = true;
    this.#watch(++this.#loops);
  }

  hide() {
    this.#shown = false;
  }

  /** @param {number} loop ends when a later one has begun */
  async #watch(loop) {
    while (this.#shown && loop === this.#loops) {
      try {
        const { batches, next_cursor: older } = await listBatches();
        sync(byId('recent-list'), batches, (batch) => batch.id, batchRow, fillBatchRow);
        byId('recent-empty').hidden = batches.length > 0;
        byId('recent-more').hidden = older === null;
      } catch {
        // the banner tells of a server that is away
      }
      await connection.pause(REFRESH_S);
    }
  }
}
