// The registry's models: each version with its card and metrics, and the choice of the default.

import { call, json } from './api.js';
import { confirmed } from './confirm.js';
import { byId, el, say, setText, sync } from './dom.js';
import { bytes, count, dateTime } from './format.js';

/** @typedef {import('./types.js').Registered} Registered */

const REFRESH_MS = 15_000;
const FAMILIES = { imagenet: 'one label of', multilabel: 'any of' };

/** @param {Registered} model */
const about = ({ family, labels, bytes: size, architecture }) => `${FAMILIES[family]} ${count(labels)} labels, ${architecture}, ${bytes(size)}`;

/** @param {Registered} model */
function facts(model) {
  const measured = Object.entries(model.metrics).map(([name, value]) => [name.replaceAll('_', ' '), String(Number(value.toPrecision(4)))]);
  const added = model.created_at ? [['added', dateTime(model.created_at)]] : [];
  const said = [['trained on', model.trained_on], ['licence', model.licence]].filter(([, text]) => text);
  return [...measured, ...said, ...added].map(([name, text]) => el('div', {}, el('dt', {}, name), el('dd', {}, text)));
}

export class RegistryPart {
  #askedAt = -Infinity;

  /** Load the models, at most every few seconds: they seldom change. */
  async look() {
    if (performance.now() - this.#askedAt < REFRESH_MS) return;
    this.#askedAt = performance.now();
    this.#draw(await call('/models/registered'));
  }

  /** @param {{models: Registered[], damaged: string[]}} registry */
  #draw({ models, damaged }) {
    byId('registry').hidden = !models.length && !damaged.length;
    say(byId('registry-trouble'), damaged.join(' '));
    sync(byId('registry-models'), models, ({ reference }) => reference, (model) => this.#row(model), fillRow);
  }

  /** @param {Registered} model */
  #row(model) {
    const { name, version, reference, card } = model;
    const choose = el('button', { type: 'button', class: 'small', 'aria-label': `Make ${reference} the default` }, 'Make default');
    choose.addEventListener('click', () => this.#choose(name, version));
    return el(
      'li',
      {},
      el('p', { class: 'model-head' }, el('span', {}, el('strong', {}, reference), el('span', { class: 'muted model-default' })), choose),
      el('p', { class: 'muted' }, about(model)),
      el('details', {}, el('summary', {}, 'Card'), el('dl', { class: 'terms' }, ...facts(model)), ...(card ? [el('pre', { class: 'model-card', tabindex: '0' }, card)] : [])),
    );
  }

  /** @param {string} name @param {string} version */
  async #choose(name, version) {
    const text = `Workers of pools that use ${name} switch to ${name}@${version} within seconds. No photo is lost, and tagged photos keep their tags.`;
    if (!(await confirmed({ title: 'Make this version the default?', text, yes: 'Make default' }))) return;
    try {
      this.#draw(await call(`/models/${encodeURIComponent(name)}/default`, json('PUT', { version })));
    } catch (error) {
      say(byId('registry-trouble'), /** @type {Error} */ (error).message);
    }
  }
}

/** @param {Element} row @param {Registered} model */
function fillRow(row, model) {
  setText(/** @type {Element} */ (row.querySelector('.model-default')), model.default ? ', the default' : '');
  /** @type {HTMLElement} */ (row.querySelector('button')).hidden = model.default;
}
