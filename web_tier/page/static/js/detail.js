// One photo in full: its tags to confirm, correct or remove, and how long tagging took.

import { drawBoxes, pointOut } from './boxes.js';
import { showPicture } from './card.js';
import { byId, el, say, setText } from './dom.js';
import { failureOf, phaseOf } from './entries.js';
import { bytes, duration } from './format.js';
import { TagField } from './tagfield.js';
import { editableRow, showTags } from './tags.js';

/** @typedef {import('./entries.js').Entry} Entry */

/** In place of a photo that is not loaded yet. @type {Entry} */
const COMING = { key: 'coming', name: 'Loading', bytes: 0, file: null, upload: null, item: null, hay: '' };

/** @param {Entry} entry @returns {[string, string][]} */
function facts(entry) {
  if (entry === COMING) return [];
  /** @type {[string, string][]} */
  const rows = [['Size', bytes(entry.bytes)]];
  const { item } = entry;
  if (item?.tagger) rows.push(['Tagger', item.tagger]);
  if (item?.finished_at && item.timings_ms) {
    const { queue, fetch, decode, infer } = item.timings_ms;
    rows.push(['Time', `waited ${duration(queue / 1000)}, tagged in ${duration((fetch + decode + infer) / 1000)}`]);
  }
  return rows;
}

export class Detail {
  #dialog = /** @type {HTMLDialogElement} */ (byId('detail'));
  /** @type {import('./grid.js').Listing} */ #entries = [];
  /** The photo on show; null until it is loaded. @type {Entry|null} */ #entry = null;
  #at = 0;
  /** The item whose boxes are drawn. @type {import('./types.js').Item|null} */ #boxed = null;

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    new TagField(byId('detail-add'), { label: 'Add a tag', placeholder: 'Add a tag', picked: (name) => this.#change({ add: [name] }) });
    const dialog = this.#dialog;
    byId('detail-close').addEventListener('click', () => dialog.close());
    byId('detail-before').addEventListener('click', () => this.#step(-1));
    byId('detail-after').addEventListener('click', () => this.#step(1));
    dialog.addEventListener('close', () => {
      this.#entries.near?.('detail', 0, 0);
      this.#entries = [];
      this.#entry = null;
    });
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('keydown', (event) => {
      if (event.key === 't' && !(event.target instanceof HTMLInputElement) && !byId('detail-add').hidden) {
        event.preventDefault();
        byId('detail-add').querySelector('input')?.focus();
      }
      if (event.key === 'ArrowLeft') this.#step(-1);
      if (event.key === 'ArrowRight') this.#step(1);
    });
  }

  /** @param {Entry} entry @param {import('./grid.js').Listing} among what Previous and Next walk through */
  open(entry, among) {
    this.#entries = among;
    this.#entry = entry;
    this.#at = Math.max(0, among.indexOf(entry));
    this.#draw();
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** Redraw if the shown photo has changed. */
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
    this.#entry = null;
    this.#draw();
  }

  /** @param {import('./editor.js').Change} change */
  #change(change) {
    const item = this.#entry?.item;
    if (item) this.editor.edit([item], change);
  }

  /** @param {string} tag */
  #accept(tag) {
    const item = this.#entry?.item;
    if (item) this.editor.judge(item, tag, 'accept');
  }

  /** @param {Entry} entry */
  #picture(entry) {
    const old = byId('detail-image');
    if (old.dataset.key !== entry.key) {
      old.replaceWith(el('img', { id: 'detail-image', alt: '', 'data-key': entry.key }));
      this.#boxed = null;
    }
    const image = /** @type {HTMLImageElement} */ (byId('detail-image'));
    showPicture(image, entry, true);
    if (this.#boxed === entry.item) return;
    this.#boxed = entry.item;
    drawBoxes(byId('detail-picture'), image, entry.item?.tags ?? [], 'meet', true);
  }

  /** @param {import('./types.js').Item|null} item */
  #tags(item) {
    byId('detail-add').hidden = item?.status !== 'succeeded';
    showTags(byId('detail-tags'), item?.tags ?? [], (tag) =>
      editableRow(tag, {
        correct: (to) => this.#change(to.toLowerCase() === tag.name.toLowerCase() ? { add: [to] } : { remove: [tag.name], add: [to] }),
        remove: () => this.#change({ remove: [tag.name] }),
        accept: () => this.#accept(tag.name),
        look: (on) => pointOut(byId('detail-picture'), on ? tag.name : ''),
      }),
    );
  }

  #draw() {
    this.#entries.near?.('detail', this.#at - 1, this.#at + 2);
    this.#entry ??= this.#entries.at(this.#at) ?? null;
    /** @type {HTMLButtonElement} */ (byId('detail-before')).disabled = this.#at === 0;
    /** @type {HTMLButtonElement} */ (byId('detail-after')).disabled = this.#at >= this.#entries.length - 1;
    const entry = this.#entry ?? COMING;
    this.#picture(entry);
    setText(byId('detail-name'), entry.name);
    say(byId('detail-caption'), entry.item?.caption ?? '');
    const phase = phaseOf(entry);
    say(byId('detail-error'), phase === 'failed' || phase === 'refused' ? failureOf(entry) : '');
    this.#tags(entry.item);
    byId('detail-facts').replaceChildren(...facts(entry).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
    this.#keepFocus();
  }

  /** What had the focus may have gone with the last photo, and the arrow keys are heard only within the dialog. */
  #keepFocus() {
    const focused = document.activeElement;
    const isThere = focused && this.#dialog.contains(focused) && focused.checkVisibility() && !focused.matches(':disabled');
    if (this.#dialog.open && !isThere) byId('detail-name').focus();
  }
}
