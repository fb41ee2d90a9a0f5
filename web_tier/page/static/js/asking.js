// Choose the tagger of the next batch, and its tasks where the tagger has some.

import { models } from './api.js';
import { byId, el, sync } from './dom.js';

/** @typedef {import('./types.js').Model} Model */
/** @typedef {{tagger: string|null, options: Record<string, any>}} Wanted null: the service's first pool */

const MAX_CANDIDATES = 100;

/** Split names at commas, semicolons and line ends. @param {string} text */
export const candidatesOf = (text) =>
  [...new Set(text.split(/[,;\n]/).map((name) => name.trim().replace(/\s+/g, ' ')).filter(Boolean))].slice(0, MAX_CANDIDATES);

/**
 * Return the options for florence2; without a choice the pool's own apply. @param {string[]} tasks @param {string} text what to look for
 * @returns {Record<string, any>}
 */
export function questions(tasks, text) {
  const candidates = candidatesOf(text);
  if (!candidates.length) return tasks.length ? { tasks } : {};
  return { tasks: [...tasks, 'find'], candidates };
}

/** @param {Model} model */
const answers = ({ wanted }) => wanted.startsWith('florence2');

/** @param {Model} model */
const title = ({ pool, wanted }) => (pool === wanted ? pool : `${pool} (${wanted})`);

export class Asking {
  /** @type {Model[]} */ #models = [];
  #pool = /** @type {HTMLSelectElement} */ (byId('asking-pool'));

  constructor() {
    this.#pool.addEventListener('change', () => this.#draw());
  }

  /** Load the taggers. */
  async look() {
    try {
      ({ models: this.#models } = await models());
    } catch {
      return; // a banner says that the server is away; until it is back the default pool is used
    }
    sync(this.#pool, this.#models, ({ pool }) => pool, (model) => el('option', { value: model.pool }, title(model)));
    this.#draw();
  }

  /** @returns {Wanted} */
  get wanted() {
    const model = this.#chosen;
    if (!model) return { tagger: null, options: {} };
    const tasks = [...byId('asking-tasks').querySelectorAll('input:checked')].map((box) => /** @type {HTMLInputElement} */ (box).value);
    const text = /** @type {HTMLInputElement} */ (byId('asking-find')).value;
    return { tagger: model.pool, options: answers(model) ? questions(tasks, text) : {} };
  }

  get #chosen() {
    return this.#models.find(({ pool }) => pool === this.#pool.value);
  }

  #draw() {
    const model = this.#chosen;
    const asks = model !== undefined && answers(model);
    byId('asking').hidden = !asks && this.#models.length < 2;
    byId('asking-choice').hidden = this.#models.length < 2;
    byId('asking-tasks').hidden = byId('asking-find-part').hidden = !asks;
  }
}
