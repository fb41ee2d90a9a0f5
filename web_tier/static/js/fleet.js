// The operator's view: what waits, who works, and why the controller did what it did last.

import { connection, fleet } from './api.js';
import { byId, el, say, setText, sync } from './dom.js';
import { bytes, count, duration, plural, rate } from './format.js';

/** @typedef {import('./types.js').Fleet} Fleet */
/** @typedef {import('./types.js').Worker} Worker */
/** @typedef {{name: string, queue: Fleet['queues'][string]|undefined, model: import('./types.js').Model|undefined, decision: import('./types.js').Decision|undefined}} Pool */

const REFRESH_S = 1.5;
const FIGURES = /** @type {const} */ ([
  ['visible', 'waiting'],
  ['in_flight', 'in flight'],
  ['delayed', 'delayed'],
  ['dead', 'dead letters'],
]);

/** The servers' own clock: the latest time that any of them wrote. @param {Fleet} state */
const nowOf = (state) =>
  Math.max(0, ...Object.values(state.queues).map((queue) => queue.read_at), ...state.workers.map((worker) => worker.at));

/** @param {number} now @param {number} then */
const ago = (now, then) => (now - then < 1.5 ? 'just now' : `${duration(Math.round(now - then))} ago`);

/** @param {Fleet} state @returns {Pool[]} */
function poolsOf(state) {
  const names = new Set([...Object.keys(state.queues), ...state.pools.map(({ pool }) => pool), ...state.decisions.map(({ pool }) => pool)]);
  return [...names].map((name) => ({
    name,
    queue: state.queues[name],
    model: state.pools.find(({ pool }) => pool === name),
    decision: state.decisions.find(({ pool }) => pool === name),
  }));
}

function poolCard() {
  const figures = el('dl', { class: 'figures' }, ...FIGURES.map(([key, label]) => el('div', { 'data-figure': key }, el('dt', {}, label), el('dd', {}))));
  const terms = el('details', {}, el('summary', {}, 'Every term'), el('dl', { class: 'terms' }));
  return el(
    'article',
    { class: 'pool' },
    el('h3', {}),
    el('p', { class: 'muted pool-serves' }),
    figures,
    el('p', { class: 'pool-decision' }, el('strong', {}), ' ', el('span', { class: 'muted' })),
    el('p', { class: 'pool-reason' }),
    terms,
  );
}

/** @param {unknown} value */
function term(value) {
  if (value === null) return '–';
  if (typeof value === 'number' && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @param {import('./types.js').Model} model */
function service({ state, wanted, serves }) {
  const other = serves && serves.split('@')[0] !== wanted ? ` in place of ${wanted}` : '';
  return `${state}, serves ${serves || wanted}${other}`;
}

/** Why, without the action that stands beside it. @param {import('./types.js').Decision} decision */
export const reasonOf = ({ action, reason }) => (reason.endsWith(`: ${action}`) ? reason.slice(0, -action.length - 2) : reason);

/** @param {Element} card @param {Pool} pool @param {number} now */
function fillPool(card, { name, queue, model, decision }, now) {
  /** @param {string} query */
  const part = (query) => /** @type {HTMLElement} */ (card.querySelector(query));
  setText(part('h3'), name);
  say(part('.pool-serves'), model ? service(model) : '');
  for (const [key] of FIGURES) {
    setText(part(`[data-figure=${key}] dd`), queue ? count(queue[key]) : '–');
    part(`[data-figure=${key}]`).classList.toggle('is-bad', key === 'dead' && (queue?.dead ?? 0) > 0);
  }
  setText(part('.pool-decision strong'), decision?.action ?? 'No decision yet');
  setText(part('.pool-decision span'), decision ? ago(now, decision.at) : '');
  setText(part('.pool-reason'), decision ? reasonOf(decision) : 'The controller has not reported.');
  const terms = Object.entries(decision?.terms ?? {});
  part('details').hidden = !terms.length;
  sync(part('.terms'), terms, ([key]) => key, ([key]) => el('div', {}, el('dt', {}, key), el('dd', {})), (row, [, value]) => setText(row.children[1], term(value)));
}

/** @param {Worker} worker */
function boot({ boot: timings }) {
  if (!timings) return '';
  return duration(timings.ready);
}

/** Where a boot's time went. @param {Worker} worker */
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

function workerRow() {
  return el('tr', {}, ...COLUMNS.map((label, n) => el(n ? 'td' : 'th', { 'data-label': label, ...(n ? {} : { scope: 'row' }), ...([3, 4, 5, 6, 8].includes(n) ? { class: 'num' } : {}) })));
}

/** @param {Element} row @param {Worker} worker @param {number} now */
function fillWorker(row, worker, now) {
  const since = `${worker.state}, ${duration(Math.max(1, Math.round(now - worker.state_since)))}`;
  const texts = [
    worker.worker_id,
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
}

export class FleetView {
  #shown = false;
  #loops = 0;

  show() {
    document.title = 'Fleet – Tagfleet';
    this.#shown = true;
    this.#watch(++this.#loops);
  }

  hide() {
    this.#shown = false;
  }

  /** @param {number} loop ends when a later one has begun */
  async #watch(loop) {
    while (this.#shown && loop === this.#loops) {
      try {
        this.#draw(await fleet());
      } catch {
        // the banner tells of a server that is away
      }
      await connection.pause(REFRESH_S);
    }
  }

  /** @param {Fleet} state */
  #draw(state) {
    const now = nowOf(state);
    const pools = poolsOf(state);
    const ready = state.workers.filter(({ state: phase }) => phase === 'idle' || phase === 'busy');
    const speed = ready.reduce((sum, worker) => sum + worker.rate, 0);
    setText(byId('fleet-about'), `${plural(ready.length, 'worker')} ready${speed ? `, ${rate(speed)} images/s lately` : ''}`);
    sync(byId('fleet-pools'), pools, ({ name }) => name, poolCard, (card, pool) => fillPool(card, pool, now));
    byId('pools-empty').hidden = pools.length > 0;
    const table = byId('fleet-workers');
    sync(/** @type {Element} */ (table.querySelector('tbody')), state.workers, (worker) => worker.worker_id, workerRow, (row, worker) => fillWorker(row, worker, now));
    table.hidden = !state.workers.length;
    byId('workers-empty').hidden = state.workers.length > 0;
  }
}
