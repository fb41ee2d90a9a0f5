// Say why nothing is being tagged yet, while no worker is ready.

import { fleet } from './api.js';
import { duration, plural } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Decision} Decision */

const ASK_MS = 2000;
const BOOT_S = 2;
/** Reasons why photos wait, in words for people with photos, by the controller's rule. */
const REASONS = {
  paused: 'Tagging is paused by the operator of this server.',
  cap: 'All of this server’s workers are busy with other photos.',
  budget: 'This server has reached its hourly budget. Tagging goes on when there is room in it.',
  no_capacity: 'The cloud has no free machine at the moment. Tagging starts when it has one.',
  back_off: 'The tagger did not start. The server tries again shortly.',
  breaker: 'The tagger does not start. The operator of this server has to look at it.',
  unread: 'The server cannot see its queue at the moment. Tagging goes on when it can.',
};

/** @param {Batch} batch */
const needsWorker = ({ status, workers, request_counts: { total, completed } }) =>
  status !== 'completed' && workers.ready === 0 && total > completed;

/** @param {Batch} batch */
function waitingSentence({ request_counts: { total, completed } }) {
  const waiting = total - completed;
  return `${plural(waiting, 'photo')} ${waiting === 1 ? 'is' : 'are'} waiting.`;
}

/** @param {Batch} batch one that `needsWorker` @param {Decision|undefined} decision the latest about its pool */
function sentence(batch, decision) {
  const seconds = Math.round(decision?.terms.boot_s ?? BOOT_S);
  if (batch.workers.booting) return `Tagging starts in about ${duration(Math.max(1, seconds))}.`;
  if (decision?.action !== 'hold') return 'Tagging starts in a moment.';
  const { rule, cap } = decision.terms;
  const reason = rule === 'cap' && cap === 0 ? 'Tagging is switched off by the operator of this server.' : REASONS[/** @type {keyof REASONS} */ (rule)];
  return reason ? `${reason} ${waitingSentence(batch)}` : 'Tagging starts in a moment.';
}

/** Ask for the controller's decision while a sentence is needed. */
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
      // a banner says that the server is away; the sentence goes without a reason
    }
  }
}
