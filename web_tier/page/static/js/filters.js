// Choose which photos of a batch are shown, and in which order.

import { byId, el, setText, sync } from './dom.js';
import { count, percent } from './format.js';

/** @typedef {import('./entries.js').Wanted} Wanted */

const TOP_TAGS = 12;

export class Filters {
  #text = /** @type {HTMLInputElement} */ (byId('filter-text'));
  #sure = /** @type {HTMLInputElement} */ (byId('filter-sure'));
  #order = /** @type {HTMLSelectElement} */ (byId('filter-order'));
  #buttons = [...byId('filter-status').querySelectorAll('button')];
  /** @type {Wanted['show']} */ #show = 'all';
  /** The chosen tag, until somebody types. */ #picked = '';

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.#text.addEventListener('input', () => (this.#picked = ''));
    for (const field of [this.#text, this.#sure, this.#order]) field.addEventListener('input', () => this.#apply());
    for (const button of this.#buttons) {
      button.addEventListener('click', () => {
        this.#show = /** @type {Wanted['show']} */ (button.dataset.show);
        this.#apply();
      });
    }
  }

  /** @returns {Wanted} */
  get wanted() {
    return { show: this.#show, text: this.#text.value, chip: this.#picked, atLeast: Number(this.#sure.value) / 100, order: /** @type {Wanted['order']} */ (this.#order.value) };
  }

  reset() {
    this.#text.value = '';
    this.#picked = '';
    this.#sure.value = '0';
    this.#order.value = 'name';
    this.#show = 'all';
    this.#apply();
  }

  /**
   * Say what the filter can do. The server searches the tags of a large batch, and knows its photos in the order of upload.
   * @param {boolean} large
   */
  #name(large) {
    const what = large ? 'Filter by tag' : 'Filter by name or tag';
    if (this.#text.placeholder === what) return;
    this.#text.placeholder = what;
    setText(/** @type {Element} */ (this.#text.previousElementSibling), what);
    setText(this.#order.options[0], large ? 'In order of upload' : 'By name');
  }

  /** @param {ReturnType<import('./entries.js').Entries['counts']>} counts @param {import('./entries.js').Entries|import('./large.js').LargeEntries} entries */
  draw(counts, entries) {
    this.#name('batchId' in entries);
    for (const button of this.#buttons) {
      const of = /** @type {Wanted['show']} */ (button.dataset.show);
      setText(/** @type {Element} */ (button.querySelector('.count')), count(counts[of]));
      if (of === 'cancelled') button.hidden = !counts.cancelled;
    }
    sync(
      byId('top-tags'),
      entries.topTags(TOP_TAGS),
      ([name]) => name,
      ([name]) => this.#chip(name),
      (chip, [name, n]) => {
        setText(chip.children[1], count(n));
        chip.setAttribute('aria-pressed', String(this.#text.value === name));
      },
    );
  }

  /** @param {string} name */
  #chip(name) {
    const chip = el('button', { type: 'button', class: 'chip' }, el('span', {}, name), ' ', el('span', { class: 'count' }));
    chip.addEventListener('click', () => {
      this.#text.value = this.#text.value === name ? '' : name;
      this.#picked = this.#text.value;
      this.#apply();
    });
    return chip;
  }

  #apply() {
    for (const button of this.#buttons) button.setAttribute('aria-pressed', String(button.dataset.show === this.#show));
    const share = Number(this.#sure.value) / 100;
    setText(byId('filter-sure-value'), share ? `${percent(share)} or more` : 'any');
    this.changed();
  }
}
