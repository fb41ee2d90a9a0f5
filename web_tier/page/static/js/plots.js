// The plots of the fleet's last minutes.

import { count, rate } from './format.js';
import { Plot } from './plot.js';

/** @typedef {import('./types.js').Sample} Sample */

const STATES = ['busy', 'idle', 'warming', 'starting', 'draining'];

export class Plots {
  #queue = new Plot('Queue', [{ name: 'waiting', colour: 0 }, { name: 'in flight', colour: 1 }], { show: count });
  #workers = new Plot('Workers', STATES.map((name, colour) => ({ name, colour })), { stacked: true, show: count });
  #speed = new Plot('Images per second', [{ name: 'tagged', colour: 0 }], { show: rate });

  /** @param {HTMLElement} place */
  constructor(place) {
    place.append(this.#queue.element, this.#workers.element, this.#speed.element);
  }

  /** @param {Sample[]} samples in the order of their times */
  draw(samples) {
    this.#queue.draw(samples.map(({ at, visible, in_flight: flying }) => ({ at, values: [visible, flying] })));
    this.#workers.draw(samples.map(({ at, workers }) => ({ at, values: STATES.map((state) => workers[state] ?? 0) })));
    this.#speed.draw(samples.map(({ at, rate: speed }) => ({ at, values: [speed] })));
  }
}
