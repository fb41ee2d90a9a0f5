// A small live plot of a few series over time, as SVG.

import { el, setText, sync } from './dom.js';
import { duration } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 600;
const HEIGHT = 150;
const GUIDES = 2;
/** Seconds without a point that count as a gap: the service samples every five. */
const GAP = 15;

/**
 * @typedef {{name: string, colour: number}} Series
 * @typedef {{at: number, values: number[]}} Point `at` in seconds; one value for each series
 */

/** @param {string} name @param {Record<string, string|number>} [attributes] @param {...Node} children */
function shape(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

/** The next of 1, 2, 5, 10, 20, 50 … @param {number} n */
export function niceTop(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  const step = [1, 2, 5, 10].find((one) => one * power >= n) ?? 10;
  return step * power;
}

/** The runs of points between gaps, as indices. @param {Point[]} points in the order of their times @returns {number[][]} */
function unbroken(points) {
  /** @type {number[][]} */ const runs = [];
  points.forEach(({ at }, n) => {
    if (n && at - points[n - 1].at <= GAP) runs.at(-1)?.push(n);
    else runs.push([n]);
  });
  return runs.filter((run) => run.length > 1);
}

export class Plot {
  /** @type {Point[]} */ #points = [];
  /** The point that is read out; null for the latest. @type {number|null} */ #at = null;
  #lines;
  #cursor = shape('line', { class: 'plot-cursor', y1: 0, y2: HEIGHT });
  #svg;
  #top = el('span', { class: 'plot-top', 'aria-hidden': 'true' });
  #span = el('span', { class: 'plot-span muted' });
  #legend = el('ul', { class: 'plot-legend' });

  /** @param {string} title @param {Series[]} series @param {{stacked?: boolean, show: (n: number) => string}} options */
  constructor(title, series, { stacked = false, show }) {
    this.title = title;
    this.series = series;
    this.stacked = stacked;
    this.show = show;
    this.#lines = series.map(({ colour }) => shape('path', { class: `plot-${stacked ? 'area' : 'line'} colour-${colour}` }));
    const guides = Array.from({ length: GUIDES }, (_, n) => shape('line', { class: 'plot-guide', x1: 0, x2: WIDTH, y1: (HEIGHT * n) / GUIDES, y2: (HEIGHT * n) / GUIDES }));
    this.#svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'slider', tabindex: 0, 'aria-label': title, 'aria-valuemin': 0 }, ...guides, ...this.#lines, this.#cursor);
    this.element = el('figure', { class: 'plot' }, el('figcaption', {}, el('strong', {}, title), ' ', this.#span), this.#legend, el('div', { class: 'plot-room' }, this.#svg, this.#top));
    this.#svg.addEventListener('pointermove', (event) => this.#point(/** @type {PointerEvent} */ (event)));
    this.#svg.addEventListener('pointerleave', () => this.#read(null));
    this.#svg.addEventListener('blur', () => this.#read(null));
    this.#svg.addEventListener('keydown', (event) => this.#step(/** @type {KeyboardEvent} */ (event)));
  }

  /** @param {Point[]} points in the order of their times */
  draw(points) {
    this.#points = points;
    const heights = points.map(({ values }) => (this.stacked ? sums(values) : values));
    const most = niceTop(Math.max(0, ...heights.flat()));
    setText(this.#top, this.show(most));
    const runs = unbroken(points);
    this.#lines.forEach((line, n) => {
      const paths = runs.map((run) => {
        const upper = run.map((at) => `${this.#x(points[at].at)},${y(heights[at][n], most)}`);
        const lower = run.map((at) => `${this.#x(points[at].at)},${y(n ? heights[at][n - 1] : 0, most)}`).reverse();
        return `M${(this.stacked ? [...upper, ...lower] : upper).join('L')}${this.stacked ? 'Z' : ''}`;
      });
      line.setAttribute('d', paths.join(''));
    });
    this.#read(this.#at);
  }

  /** @param {number} at seconds @returns {string} */
  #x(at) {
    const [first, last] = [this.#points[0].at, /** @type {Point} */ (this.#points.at(-1)).at];
    return (last > first ? ((at - first) / (last - first)) * WIDTH : WIDTH).toFixed(1);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const { left, width } = this.#svg.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * WIDTH;
    const distances = this.#points.map(({ at }) => Math.abs(Number(this.#x(at)) - x));
    this.#read(distances.length ? distances.indexOf(Math.min(...distances)) : null);
  }

  /** @param {KeyboardEvent} event */
  #step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!by) return;
    event.preventDefault();
    const last = this.#points.length - 1;
    this.#read(Math.max(0, Math.min(last, (this.#at ?? last) + by)));
  }

  /** @param {number|null} at which point, from 0 */
  #read(at) {
    const last = this.#points.length - 1;
    this.#at = at === null || at > last || last < 0 ? null : at;
    const point = this.#points[this.#at ?? last];
    this.#cursor.setAttribute('visibility', this.#at === null ? 'hidden' : 'visible');
    if (this.#at !== null) for (const end of ['x1', 'x2']) this.#cursor.setAttribute(end, this.#x(point.at));
    const age = point ? this.#points[last].at - point.at : 0;
    setText(this.#span, this.#at === null ? spanOf(this.#points) : `${age < 1 ? 'now' : `${duration(age)} ago`}`);
    sync(
      this.#legend,
      this.series.map((one, n) => ({ ...one, value: point ? this.show(point.values[n]) : '–' })),
      ({ name }) => name,
      ({ name, colour }) => el('li', {}, el('span', { class: `plot-key colour-${colour}`, 'aria-hidden': 'true' }), el('span', {}, name), ' ', el('strong', {})),
      (row, { value }) => setText(/** @type {Element} */ (row.querySelector('strong')), value),
    );
    this.#svg.setAttribute('aria-valuemax', String(Math.max(0, last)));
    this.#svg.setAttribute('aria-valuenow', String(Math.max(0, this.#at ?? last)));
    this.#svg.setAttribute('aria-valuetext', point ? this.series.map(({ name }, n) => `${name} ${this.show(point.values[n])}`).join(', ') : 'nothing yet');
  }
}

/** @param {number[]} values @returns {number[]} each with those before it */
function sums(values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}

/** @param {number} value @param {number} most */
const y = (value, most) => (HEIGHT - (value / most) * HEIGHT).toFixed(1);

/** @param {Point[]} points */
const spanOf = (points) => (points.length > 1 ? `the last ${duration(points[points.length - 1].at - points[0].at)}` : 'nothing recorded yet');
