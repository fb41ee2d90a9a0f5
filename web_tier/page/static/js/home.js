// The home view: drop photos here, and see the latest batches.

import { listBatches } from './api.js';
import { batchRow, fillBatchRow } from './batchrow.js';
import { byId, sync } from './dom.js';
import { Watching } from './watching.js';

/** @typedef {import('./types.js').Batch} Batch */

const REFRESH_S = 2;

export class HomeView {
  /** @param {import('./asking.js').Asking} asking */
  constructor(asking) {
    this.asking = asking;
  }

  #watching = new Watching(REFRESH_S, (isLast) => this.#look(isLast));

  show() {
    document.title = 'Tagfleet';
    this.#watching.start();
    this.asking.look();
  }

  hide() {
    this.#watching.stop();
  }

  /** @param {() => boolean} isLast */
  async #look(isLast) {
    const { batches, next_cursor: older } = await listBatches();
    if (!isLast()) return;
    sync(byId('recent-list'), batches, (batch) => batch.id, batchRow, fillBatchRow);
    byId('recent-empty').hidden = batches.length > 0;
    byId('recent-more').hidden = older === null;
  }
}
