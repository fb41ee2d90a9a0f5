// Why nothing is being tagged yet, in a sentence, while no worker is ready.

import { fleet } from './api.js';
import { duration } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Fleet} Fleet */

/** Half of the boots that workers report were faster; null when none did. @param {Fleet} state @param {string} pool */
function usualBoot(state, pool) {
  const boots = state.workers.filter((worker) => worker.pool === pool && worker.boot).map((worker) => worker.boot?.ready ?? 0);
  return boots.length ? boots.sort((a, b) => a - b)[boots.length >> 1] : null;
}

/** @param {Batch} batch */
export const needsWorker = ({ status, workers, request_counts: { total, completed } }) =>
  status !== 'completed' && workers.ready === 0 && total > completed;

/**
 * @param {Batch} batch one that `needsWorker` @param {Fleet|null} state
 * @param {number|null} remembered seconds that a boot took earlier
 */
export function sentence(batch, state, remembered) {
  const pool = batch.tagger.split('@')[0];
  const seconds = (state && usualBoot(state, pool)) ?? remembered ?? 2;
  if (batch.workers.booting) return `Starting a worker: about ${duration(Math.max(1, Math.round(seconds)))}.`;
  const decision = state?.decisions.find((one) => one.pool === pool);
  const why = decision && decision.action.startsWith('hold') && decision.reason ? ` The fleet holds: ${decision.reason}.` : '';
  return `No worker runs yet; one is about to be started.${why}`;
}

/** Asks for the fleet while a sentence is needed, at most every two seconds. */
export class Starting {
  /** @type {Fleet|null} */ #state = null;
  /** @type {number|null} */ #boot = null;
  #askedAt = -Infinity;

  /** @param {Batch} batch @param {() => void} changed */
  describe(batch, changed) {
    if (!needsWorker(batch)) return '';
    this.#ask(batch, changed);
    return sentence(batch, this.#state, this.#boot);
  }

  /** @param {Batch} batch @param {() => void} changed */
  async #ask(batch, changed) {
    if (performance.now() - this.#askedAt < 2000) return;
    this.#askedAt = performance.now();
    try {
      this.#state = await fleet();
      this.#boot = usualBoot(this.#state, batch.tagger.split('@')[0]) ?? this.#boot;
      changed();
    } catch {
      // the banner tells of a server that is away; the sentence does without the fleet
    }
  }
}
