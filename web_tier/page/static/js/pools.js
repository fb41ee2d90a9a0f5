// The card of each pool: its queue, and the controller's last decision.

import { el, say, setText, sync } from './dom.js';
import { count, duration } from './format.js';

/** @typedef {import('./types.js').Fleet} Fleet */
/** @typedef {{name: string, queue: Fleet['queues'][string]|undefined, model: import('./types.js').Model|undefined, decision: import('./types.js').Decision|undefined}} Pool */

const FIGURES = /** @type {const} */ ([
  ['visible', 'waiting'],
  ['in_flight', 'in flight'],
  ['delayed', 'delayed'],
  ['dead', 'dead letters'],
]);

/** @param {number} now @param {number} then seconds */
export const ago = (now, then) => (now - then < 1.5 ? 'just now' : `${duration(Math.round(now - then))} ago`);

/** @param {Fleet} state @returns {Pool[]} */
export function poolsOf(state) {
  const names = new Set([...Object.keys(state.queues), ...state.pools.map(({ pool }) => pool), ...state.decisions.map(({ pool }) => pool)]);
  return [...names].map((name) => ({
    name,
    queue: state.queues[name],
    model: state.pools.find(({ pool }) => pool === name),
    decision: state.decisions.find(({ pool }) => pool === name),
  }));
}

export function poolCard() {
  const figures = el('dl', { class: 'figures' }, ...FIGURES.map(([key, label]) => el('div', { 'data-figure': key }, el('dt', {}, label), el('dd', {}))));
  return el(
    'article',
    { class: 'pool' },
    el('h3', {}),
    el('p', { class: 'muted pool-serves' }),
    figures,
    el('p', { class: 'pool-decision' }, el('strong', {}), ' ', el('span', { class: 'muted' })),
    el('p', { class: 'pool-reason' }),
    termsDetails(),
  );
}

/** @type {Promise<Record<string, {description?: string}>> | undefined} */
let described;

/** Give each term its meaning and unit as a hint; the API's own description has them. @param {Element} list */
async function describeTerms(list) {
  described ??= fetch('/openapi.json')
    .then((response) => response.json())
    .then(({ components }) => components.schemas.DecisionRecord.properties.terms.properties)
    .catch(() => ({}));
  const terms = await described;
  for (const name of list.querySelectorAll('dt')) name.title = terms[name.textContent ?? '']?.description ?? '';
}

/** The terms of a decision, folded; `fillTerms` fills the list in it. */
export function termsDetails() {
  const list = el('dl', { class: 'terms' });
  const details = el('details', {}, el('summary', {}, 'All terms'), list);
  details.addEventListener('toggle', () => details.open && describeTerms(list));
  return details;
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

/** Return the reason without the action, which the card shows beside it. @param {import('./types.js').Decision} decision */
export const reasonOf = ({ action, reason }) => (reason.endsWith(`: ${action}`) ? reason.slice(0, -action.length - 2) : reason);

/** @param {Element} card @param {Pool} pool @param {number} now */
export function fillPool(card, { name, queue, model, decision }, now) {
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
  setText(part('.pool-reason'), decision ? reasonOf(decision) : 'The controller has not reported yet.');
  const terms = decision?.terms ?? {};
  part('details').hidden = !Object.keys(terms).length;
  fillTerms(part('.terms'), terms);
}

/** @param {Element} list a dl @param {Record<string, any>} terms */
export function fillTerms(list, terms) {
  sync(list, Object.entries(terms), ([key]) => key, ([key]) => el('div', {}, el('dt', {}, key), el('dd', {})), (row, [, value]) => setText(row.children[1], term(value)));
}
