// One batch in a list: its first photos, its name and its progress.

import { results, thumbnail } from './api.js';
import { outcome, taggedOf, titleOf } from './batchtext.js';
import { el, setShare, setText } from './dom.js';
import { isOver } from './events.js';
import { about, count, dateTime } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */

const PICTURES = 4;

/** @param {Batch} batch */
function progress(batch) {
  const { total, failed } = batch.request_counts;
  if (isOver(batch)) return outcome(batch).filter(Boolean).join(' · ');
  const left = batch.eta_s ? `, ${about(batch.eta_s)} left` : '';
  const open = batch.status === 'open' ? ', upload not finished' : '';
  return `${count(taggedOf(batch.request_counts))} of ${count(total)} tagged${failed ? `, ${count(failed)} failed` : ''}${left}${open}`;
}

/** @param {Batch} batch */
export function batchRow(batch) {
  const pictures = el('span', { class: 'recent-pictures', 'aria-hidden': 'true' });
  const bar = el('span', { class: 'progress progress-thin', 'aria-hidden': 'true' }, el('span', { class: 'progress-done' }), el('span', { class: 'progress-failed' }));
  const text = el('span', { class: 'recent-text' }, el('strong', {}), el('span', { class: 'muted' }), el('span', { class: 'muted' }), bar);
  return el('li', {}, el('a', { href: `/batches/${batch.id}`, 'data-route': '', class: 'recent-row' }, pictures, text));
}

/** @param {Element} element made by `batchRow` @param {Batch} batch */
export function fillBatchRow(element, batch) {
  const [title, when, how, bar] = /** @type {Element} */ (element.querySelector('.recent-text')).children;
  setText(title, titleOf(batch));
  setText(when, `${dateTime(batch.created_at)} · ${batch.tagger}`);
  setText(how, progress(batch));
  const { total, failed } = batch.request_counts;
  /** @type {HTMLElement} */ (bar).hidden = isOver(batch);
  setShare(bar.children[0], total ? taggedOf(batch.request_counts) / total : 0);
  setShare(bar.children[1], total ? failed / total : 0);
  pictures(/** @type {HTMLElement} */ (element.querySelector('.recent-pictures')), batch);
}

/** Load the first photos, once there are some. @param {HTMLElement} strip @param {Batch} batch */
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
