// The operator's view: queues, workers, and the controller's decisions.

import { call, fleet, json } from './api.js';
import { CapForm } from './capform.js';
import { drawChanges } from './changes.js';
import { confirmed } from './confirm.js';
import { byId, el, say, setText, sync } from './dom.js';
import { count, dateTime, plural, rate } from './format.js';
import { Plots } from './plots.js';
import { ago, fillPool, fillTerms, poolCard, poolsOf, reasonOf, termsDetails } from './pools.js';
import { RegistryPart } from './registry.js';
import { Watching } from './watching.js';
import { fillWorker, workerRow } from './workers.js';

/** @typedef {import('./types.js').Fleet} Fleet */
/** @typedef {import('./types.js').Worker} Worker */
/** @typedef {import('./types.js').Decision} Decision */
/** @typedef {import('./types.js').DeadLetter} DeadLetter */

const REFRESH_S = 1.5;
const SHOWN_DECISIONS = 50;

/** The servers' own clock: the latest time that any of them wrote. @param {Fleet} state */
const nowOf = (state) =>
  Math.max(0, ...Object.values(state.queues).map((queue) => queue.read_at), ...state.workers.map((worker) => worker.at));

/** @returns {Promise<import('./types.js').History>} */
const history = () => call('/fleet/history');

/** @returns {Promise<{dead_letters: DeadLetter[]}>} */
const deadLetters = () => call('/fleet/dead-letters');

function deadRow() {
  const labels = ['Photo', 'Pool', 'Tries', 'Batch'];
  return el('tr', {}, ...labels.map((label, n) => el(n ? 'td' : 'th', { 'data-label': label, ...(n ? {} : { scope: 'row' }), ...(n === 2 ? { class: 'num' } : {}) })));
}

/** @param {Element} row @param {DeadLetter} letter */
function fillDead(row, letter) {
  [letter.name, letter.pool, count(letter.received)].forEach((text, n) => setText(row.children[n], text));
  if (row.children[3].childElementCount) return;
  row.children[3].append(el('a', { href: `/batches/${encodeURIComponent(letter.batch_id)}`, 'data-route': '' }, letter.batch_id));
}

/** @param {Decision} decision */
function decisionRow(decision) {
  const when = new Date(decision.at * 1000).toISOString();
  const terms = termsDetails();
  fillTerms(/** @type {Element} */ (terms.querySelector('dl')), decision.terms);
  return el(
    'li',
    {},
    el('p', {}, el('strong', {}, decision.action), ' ', el('span', { class: 'muted' }, `${decision.pool}, `, el('time', { datetime: when, title: dateTime(when) }))),
    el('p', {}, reasonOf(decision)),
    terms,
  );
}

export class FleetView {
  #watching = new Watching(REFRESH_S, (isLast) => this.#look(isLast));
  #paused = false;
  #plots = new Plots(byId('fleet-plots'));
  #registry = new RegistryPart();
  #cap = new CapForm(() => this.#watching.look().catch(() => {}));

  constructor() {
    byId('fleet-pause').addEventListener('click', () => this.#order(this.#paused ? '/fleet/resume' : '/fleet/pause'));
    byId('dead-redrive').addEventListener('click', () => this.#order('/fleet/dead-letters/redrive'));
  }

  show() {
    document.title = 'Fleet – Tagfleet';
    this.#watching.start();
  }

  hide() {
    this.#watching.stop();
  }

  /** @param {() => boolean} isLast */
  async #look(isLast) {
    const [state, past] = await Promise.all([fleet(), history()]);
    if (!isLast()) return;
    this.#draw(state);
    this.#drawDecisions(past.decisions, nowOf(state));
    drawChanges(past.changes ?? [], nowOf(state));
    this.#plots.draw(past.samples);
    const dead = Object.values(state.queues).some((queue) => queue.dead > 0);
    await this.#registry.look();
    const letters = dead ? (await deadLetters()).dead_letters : [];
    if (isLast()) this.#drawDead(letters);
  }

  /** @param {string} path */
  async #order(path) {
    try {
      say(byId('fleet-trouble'), '');
      await call(path, json('POST'));
    } catch (error) {
      say(byId('fleet-trouble'), /** @type {Error} */ (error).message);
    }
    await this.#watching.look().catch(() => {}); // a banner says that the server is away
  }

  /** @param {Worker} worker */
  async #drain({ worker_id: id }) {
    const text = `${id} finishes the photos it has and then stops. The controller may start another worker if there is more work.`;
    if (await confirmed({ title: 'Drain this worker?', text, yes: 'Drain' })) await this.#order(`/fleet/workers/${encodeURIComponent(id)}/drain`);
  }

  /** @param {Fleet} state */
  #draw(state) {
    const now = nowOf(state);
    const pools = poolsOf(state);
    const ready = state.workers.filter(({ state: phase }) => phase === 'idle' || phase === 'busy');
    const speed = ready.reduce((sum, worker) => sum + worker.rate, 0);
    setText(byId('fleet-about'), `${plural(ready.length, 'worker')} ready${speed ? `, ${rate(speed)} images/s lately` : ''}`);
    this.#cap.draw(state);
    say(byId('fleet-stalled'), (state.stalled ?? []).map(({ part, id, detail }) => `${part === 'worker' ? `Worker ${id}` : `The ${part}`} ${detail}.`).join(' '));
    this.#paused = state.paused ?? false;
    byId('fleet-paused').hidden = !this.#paused;
    setText(byId('fleet-pause'), this.#paused ? 'Resume' : 'Pause');
    sync(byId('fleet-pools'), pools, ({ name }) => name, poolCard, (card, pool) => fillPool(card, pool, now));
    byId('pools-empty').hidden = pools.length > 0;
    const table = byId('fleet-workers');
    const body = /** @type {Element} */ (table.querySelector('tbody'));
    sync(body, state.workers, (worker) => worker.worker_id, (worker) => workerRow(worker, (one) => this.#drain(one)), (row, worker) => fillWorker(row, worker, now));
    table.hidden = !state.workers.length;
    byId('workers-empty').hidden = state.workers.length > 0;
  }

  /** @param {Decision[]} decisions @param {number} now */
  #drawDecisions(decisions, now) {
    const latest = decisions.toSorted((a, b) => b.at - a.at).slice(0, SHOWN_DECISIONS);
    sync(byId('decisions'), latest, ({ at, pool }) => `${at} ${pool}`, decisionRow, (row, { at }) => setText(/** @type {Element} */ (row.querySelector('time')), ago(now, at)));
    byId('decisions-empty').hidden = latest.length > 0;
  }

  /** @param {DeadLetter[]} letters */
  #drawDead(letters) {
    byId('dead').hidden = !letters.length;
    sync(/** @type {Element} */ (byId('dead-letters').querySelector('tbody')), letters, (letter) => `${letter.pool} ${letter.image_id}`, deadRow, fillDead);
  }
}
