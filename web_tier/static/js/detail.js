// One photo in full: all its tags, and how long each step took.

import { showPicture, tagRow } from './card.js';
import { byId, el, say, setText } from './dom.js';
import { failureOf, phaseOf } from './entries.js';
import { bytes } from './format.js';

/** @typedef {import('./entries.js').Entry} Entry */

const STEPS = { queue: 'waited', fetch: 'fetched', decode: 'decoded', infer: 'tagged' };

/** @param {Entry} entry @returns {[string, string][]} */
function facts(entry) {
  /** @type {[string, string][]} */
  const rows = [['Size', bytes(entry.bytes)]];
  const { item } = entry;
  if (item?.tagger) rows.push(['Tagger', item.tagger]);
  if (item?.caption) rows.push(['Caption', item.caption]);
  if (item?.finished_at && item.timings_ms) {
    const steps = Object.entries(STEPS).map(([step, verb]) => `${verb} ${Math.round(item.timings_ms?.[step] ?? 0)} ms`);
    rows.push(['Time', steps.join(', ')]);
  }
  return rows;
}

export class Detail {
  #dialog = /** @type {HTMLDialogElement} */ (byId('detail'));
  /** @type {Entry[]} */ #entries = [];
  #at = 0;

  constructor() {
    const dialog = this.#dialog;
    byId('detail-close').addEventListener('click', () => dialog.close());
    byId('detail-before').addEventListener('click', () => this.#step(-1));
    byId('detail-after').addEventListener('click', () => this.#step(1));
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowLeft') this.#step(-1);
      if (event.key === 'ArrowRight') this.#step(1);
    });
  }

  /** @param {Entry} entry @param {Entry[]} among what Previous and Next walk through */
  open(entry, among) {
    this.#entries = among;
    this.#at = Math.max(0, among.indexOf(entry));
    this.#draw();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Draws again where the photo on show has changed. */
  refresh() {
    if (this.#dialog.open) this.#draw();
  }

  close() {
    this.#dialog.close();
  }

  /** @param {number} by */
  #step(by) {
    const to = this.#at + by;
    if (to < 0 || to >= this.#entries.length) return;
    this.#at = to;
    this.#draw();
  }

  #draw() {
    const entry = this.#entries[this.#at];
    const old = byId('detail-image');
    if (old.dataset.key !== entry.key) {
      const image = /** @type {HTMLImageElement} */ (el('img', { id: 'detail-image', alt: '', 'data-key': entry.key }));
      old.replaceWith(image);
    }
    showPicture(/** @type {HTMLImageElement} */ (byId('detail-image')), entry, true);
    setText(byId('detail-name'), entry.name);
    const phase = phaseOf(entry);
    say(byId('detail-error'), phase === 'failed' || phase === 'refused' ? failureOf(entry) : '');
    byId('detail-tags').replaceChildren(...(entry.item?.tags ?? []).map(tagRow));
    byId('detail-facts').replaceChildren(...facts(entry).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
    /** @type {HTMLButtonElement} */ (byId('detail-before')).disabled = this.#at === 0;
    /** @type {HTMLButtonElement} */ (byId('detail-after')).disabled = this.#at === this.#entries.length - 1;
  }
}
