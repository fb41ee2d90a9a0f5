// Why nothing is being tagged yet, in a sentence, while no worker is ready.

import { fleet } from './api.js';
import { reasonOf } from './pools.js';
import { duration } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Decision} Decision */

const ASK_MS = 2000;
const BOOT_S = 2;
const NO_NEWS = ['rest', 'enough']; // the controller has not looked at this work yet, or all is well

/** @param {Batch} batch */
const needsWorker = ({ status, workers, request_counts: { total, completed } }) =>
  status !== 'completed' && workers.ready === 0 && total > completed;

/** @param {Batch} batch one that `needsWorker` @param {Decision|undefined} decision the latest about its pool */
function sentence(batch, decision) {
  const seconds = Math.round(decision?.terms.boot_s ?? BOOT_S);
  if (batch.workers.booting) return `Starting a worker: about ${duration(Math.max(1, seconds))}.`;
  const held = decision?.action === 'hold' && !NO_NEWS.includes(decision.terms.rule);
  return held ? `No worker runs yet: ${reasonOf(decision)}.` : 'No worker runs yet; one is about to be started.';
}

/** Asks for the controller's decision while a sentence is needed. */
export class Starting {
  /** @type {Decision|undefined} */ #decision;
  #askedAt = -Infinity;

  /** @param {Batch} batch @param {() => void} changed @returns {string} '' once a worker is ready */
  describe(batch, changed) {
    if (!needsWorker(batch)) return '';
    this.#ask(batch, changed);
    return sentence(batch, this.#decision);
  }

  /** @param {Batch} batch @param {() => void} changed */
  async #ask(batch, changed) {
    if (performance.now() - this.#askedAt < ASK_MS) return;
    this.#askedAt = performance.now();
    try {
      const { decisions } = await fleet();
      this.#decision = decisions.find(({ pool }) => pool === batch.tagger.split('@')[0]);
      changed();
    } catch {
      // the banner tells of a server that is away; the sentence does without a reason
    }
  }
}
