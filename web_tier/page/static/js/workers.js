// The row of each worker: its state, its speed and its boot time.

import { el, setText } from './dom.js';
import { bytes, count, duration, rate } from './format.js';

/** @typedef {import('./types.js').Worker} Worker */

/** @param {Worker} worker */
function boot({ boot: timings }) {
  if (!timings) return '';
  return duration(timings.ready);
}

/** The seconds of each phase of its boot. @param {Worker} worker */
function bootSteps({ boot: timings }) {
  if (!timings) return '';
  const ends = /** @type {[string, number][]} */ ([
    ['process', timings.process],
    ['imports', timings.imports],
    ['weights', timings.weights],
    ['first image', timings.first_inference],
    ['ready', timings.ready],
  ]);
  return ends.map(([name, end], n) => `${name} ${Math.max(0, end - (n ? ends[n - 1][1] : 0)).toFixed(2)} s`).join(', ');
}

const COLUMNS = ['Worker', 'State', 'Tagger', 'Images/s', 'Tagged', 'Failed', 'In hand', 'Boot', 'Memory'];
const LEAVING = ['draining', 'drained'];

/** @param {Worker} worker @param {(worker: Worker) => void} drain */
export function workerRow(worker, drain) {
  const button = el('button', { type: 'button', class: 'small', 'aria-label': `Drain ${worker.worker_id}` }, 'Drain');
  button.addEventListener('click', () => drain(worker));
  const cells = COLUMNS.map((label, n) => el(n ? 'td' : 'th', { 'data-label': label, ...(n ? {} : { scope: 'row' }), ...([3, 4, 5, 6, 8].includes(n) ? { class: 'num' } : {}) }));
  return el('tr', {}, ...cells, el('td', { class: 'row-actions' }, button));
}

/** @param {Element} row @param {Worker} worker @param {number} now */
export function fillWorker(row, worker, now) {
  const since = `${worker.state}, ${duration(Math.max(1, Math.round(now - worker.state_since)))}`;
  const texts = [
    worker.managed === false ? `${worker.worker_id} (by hand)` : worker.worker_id,
    worker.notice ? `${since}: ${worker.notice}` : since,
    worker.engine ? `${worker.tagger}, ${worker.engine}` : worker.tagger,
    worker.rate ? rate(worker.rate) : '–',
    count(worker.images_done),
    count(worker.images_failed),
    count(worker.held),
    boot(worker) || '–',
    worker.rss_bytes ? bytes(worker.rss_bytes) : '–',
  ];
  texts.forEach((text, n) => setText(row.children[n], text));
  row.setAttribute('data-state', worker.state);
  row.children[7].setAttribute('title', bootSteps(worker));
  /** @type {HTMLElement} */ (row.lastElementChild?.firstElementChild).hidden = LEAVING.includes(worker.state);
}
