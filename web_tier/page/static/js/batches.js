// The list of all batches, and the search for photos by tag in all of them.

import { call, listBatches, query } from './api.js';
import { batchRow, fillBatchRow } from './batchrow.js';
import { Card } from './card.js';
import { byId, el, setText, sync } from './dom.js';
import { Entries } from './entries.js';
import { count, percent, plural } from './format.js';
import { Grid } from './grid.js';
import { TagField, knownTags } from './tagfield.js';
import { Watching } from './watching.js';

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */

const PAGE = 24;
const PHOTOS = 100;
const TOP_TAGS = 24;
const REFRESH_S = 3;

export class BatchesView {
  /** @type {Map<string, Batch>} */ #batches = new Map();
  /** @type {string|null} */ #older = null;
  #firstLook = true;
  #watching = new Watching(REFRESH_S, (isLast) => this.#look(isLast));
  #tag = '';
  #entries = new Entries();
  /** @type {string|null} */ #more = null;
  #asked = 0;
  #sure = /** @type {HTMLInputElement} */ (byId('tag-sure'));

  /** @param {import('./detail.js').Detail} detail @param {import('./editor.js').Editor} editor @param {(path: string) => void} go */
  constructor(detail, editor, go) {
    this.go = go;
    new TagField(byId('tag-search'), { label: 'Find photos by tag, in all batches', placeholder: 'Find photos by tag', picked: (name) => this.#find(name) });
    this.grid = new Grid(byId('found-results'), (entry) => new Card(entry, {
      open: (one) => detail.open(one, this.#entries.all),
      again: () => {},
      choose: () => {},
      chosen: () => false,
      atLeast: () => Number(this.#sure.value) / 100,
    }));
    byId('view-batches').addEventListener('click', (event) => {
      const tag = /** @type {Element} */ (event.target).closest('[data-tag]')?.getAttribute('data-tag');
      if (tag) this.#find(tag);
    });
    byId('found-end').addEventListener('click', () => go('/batches'));
    byId('found-more').addEventListener('click', () => this.#search(this.#more));
    byId('batches-more').addEventListener('click', () => this.#moreBatches());
    this.#sure.addEventListener('input', () => {
      const share = Number(this.#sure.value) / 100;
      setText(byId('tag-sure-value'), share ? `${percent(share)} or more` : 'any');
      if (this.#tag) this.#search(null);
    });
    editor.addEventListener('items', (event) => {
      if (!this.#watching.on) return;
      for (const item of /** @type {CustomEvent<Item[]>} */ (event).detail) this.#entries.update(item);
      this.#drawFound();
      detail.refresh();
    });
  }

  show() {
    document.title = 'Batches – Tagfleet';
    this.#tag = new URLSearchParams(location.search).get('tag') ?? '';
    this.#batches.clear();
    byId('found').hidden = !this.#tag;
    byId('batches-list').hidden = this.#tag !== '';
    if (this.#tag) this.#search(null);
    this.#firstLook = true;
    this.#watching.start();
  }

  hide() {
    this.#watching.stop();
    this.grid.show([]);
  }

  /** @param {string} tag */
  #find(tag) {
    this.go(`/batches${query({ tag })}`);
  }

  /** @param {() => boolean} isLast */
  async #look(isLast) {
    const [page, { tags }] = await Promise.all([listBatches(null, PAGE), knownTags('', TOP_TAGS)]);
    if (!isLast()) return;
    if (this.#firstLook) this.#older = page.next_cursor;
    this.#firstLook = false;
    for (const batch of page.batches) this.#batches.set(batch.id, batch);
    this.#drawBatches();
    sync(byId('all-tags'), tags, ({ name }) => name, ({ name }) => el('button', { type: 'button', class: 'chip', 'data-tag': name }, el('span', {}, name), ' ', el('span', { class: 'count' })), (chip, tag) => {
      setText(chip.children[1], count(tag.count));
      chip.setAttribute('aria-pressed', String(tag.name === this.#tag));
    });
  }

  async #moreBatches() {
    if (!this.#older) return;
    const page = await listBatches(this.#older, PAGE);
    this.#older = page.next_cursor;
    for (const batch of page.batches) this.#batches.set(batch.id, batch);
    this.#drawBatches();
  }

  #drawBatches() {
    const newestFirst = [...this.#batches.values()].sort((a, b) => (a.id < b.id ? 1 : -1)); // ids sort by time
    sync(byId('all-batches'), newestFirst, (batch) => batch.id, batchRow, fillBatchRow);
    setText(byId('batches-about'), `${this.#older ? 'The latest ' : ''}${plural(newestFirst.length, 'batch', 'batches')}`);
    byId('batches-empty').hidden = newestFirst.length > 0;
    byId('batches-more').hidden = this.#older === null;
  }

  /** @param {string|null} cursor null begins anew */
  async #search(cursor) {
    const number = (this.#asked += 1);
    const atLeast = Number(this.#sure.value) / 100;
    try {
      const page = await call(`/images${query({ tag: this.#tag, min_confidence: atLeast || null, cursor, limit: PHOTOS })}`);
      if (number !== this.#asked) return;
      if (!cursor) this.#entries = new Entries();
      for (const item of page.images) this.#entries.update(item);
      this.#more = page.next_cursor;
      this.#drawFound();
    } catch (error) {
      if (number === this.#asked) setText(byId('found-about'), /** @type {Error} */ (error).message);
    }
  }

  #drawFound() {
    const found = this.#entries.all;
    setText(byId('found-about'), `${plural(found.length, 'photo')}${this.#more ? ' and more' : ''} tagged “${this.#tag}”`);
    byId('found-empty').hidden = found.length > 0;
    byId('found-more').hidden = this.#more === null;
    this.grid.show(found);
    this.grid.refresh();
  }
}
