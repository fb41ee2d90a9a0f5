// The home view: recent batches with their progress and first photos.

import { connection, listBatches, results, thumbnail } from './api.js';
import { outcome, titleOf } from './batch.js';
import { byId, el, setShare, setText, sync } from './dom.js';
import { about, count, dateTime } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */

const REFRESH_S = 2;
const PICTURES = 4;

/** @param {Batch} batch */
function progress(batch) {
  const { total, completed, failed } = batch.request_counts;
  if (batch.status === 'completed') return outcome(batch).filter(Boolean).join(' · ');
  const left = batch.eta_s ? `, ${about(batch.eta_s)} left` : '';
  const open = batch.status === 'open' ? ', upload not finished' : '';
  return `${count(completed - failed)} of ${count(total)} tagged${failed ? `, ${count(failed)} failed` : ''}${left}${open}`;
}

/** @param {Batch} batch */
function row(batch) {
  const pictures = el('span', { class: 'recent-pictures', 'aria-hidden': 'true' });
  const bar = el('span', { class: 'progress progress-thin', 'aria-hidden': 'true' }, el('span', { class: 'progress-done' }), el('span', { class: 'progress-failed' }));
  const text = el('span', { class: 'recent-text' }, el('strong', {}), el('span', { class: 'muted' }), el('span', { class: 'muted' }), bar);
  return el('li', {}, el('a', { href: `/batches/${batch.id}`, 'data-route': '', class: 'recent-row' }, pictures, text));
}

/** @param {Element} element @param {Batch} batch */
function fill(element, batch) {
  const [title, when, how, bar] = /** @type {Element} */ (element.querySelector('.recent-text')).children;
  setText(title, titleOf(batch));
  setText(when, `${dateTime(batch.created_at)} · ${batch.tagger}`);
  setText(how, progress(batch));
  const { total, completed, failed } = batch.request_counts;
  /** @type {HTMLElement} */ (bar).hidden = batch.status === 'completed';
  setShare(bar.children[0], total ? (completed - failed) / total : 0);
  setShare(bar.children[1], total ? failed / total : 0);
  pictures(/** @type {HTMLElement} */ (element.querySelector('.recent-pictures')), batch);
}

/** The first photos, asked for once there are some. @param {HTMLElement} strip @param {Batch} batch */
async function pictures(strip, batch) {
  const wanted = Math.min(PICTURES, batch.request_counts.total);
  if (strip.childElementCount >= wanted || strip.dataset.asked === String(wanted)) return;
  strip.dataset.asked = String(wanted);
  try {
    const { results: items } = await results(batch.id, PICTURES);
    strip.replaceChildren(...items.map((item) => el('img', { src: thumbnail(item.image_id), alt: '', loading: 'lazy', decoding: 'async' })));
  } catch {
    delete strip.dataset.asked;
  }
}

export class HomeView {
  /** @type {Map<string, Batch>} */ #batches = new Map();
  /** @type {string|null} */ #older = null;
  #shown = false;
  #loops = 0;

  constructor() {
    byId('recent-more').addEventListener('click', () => this.#more());
  }

  show() {
    document.title = 'Tagfleet';
    this.#shown = true;
    this.#batches.clear();
    this.#watch(++this.#loops);
  }

  hide() {
    this.#shown = false;
  }

  /** @param {number} loop ends when a later one has begun */
  async #watch(loop) {
    let first = true;
    while (this.#shown && loop === this.#loops) {
      try {
        const page = await listBatches();
        if (first) this.#older = page.next_cursor;
        first = false;
        for (const batch of page.batches) this.#batches.set(batch.id, batch);
        this.#draw();
      } catch {
        // the banner tells of a server that is away
      }
      await connection.pause(REFRESH_S);
    }
  }

  async #more() {
    if (!this.#older) return;
    const page = await listBatches(this.#older);
    this.#older = page.next_cursor;
    for (const batch of page.batches) this.#batches.set(batch.id, batch);
    this.#draw();
  }

  #draw() {
    const newestFirst = [...this.#batches.values()].sort((a, b) => (a.id < b.id ? 1 : -1)); // ids sort by time
    sync(byId('recent-list'), newestFirst, (batch) => batch.id, row, fill);
    byId('recent-empty').hidden = newestFirst.length > 0;
    byId('recent-more').hidden = this.#older === null;
  }
}
