// A grid that creates only the cards near the window, so that ten thousand photos cost as much as fifty.

import { el } from './dom.js';
import { Scale } from './scale.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./card.js').Card} Card */
/**
 * What a grid shows: an array, or a list of which only some is loaded, which `near` tells what is shown.
 * @typedef {object} Listing
 * @property {number} length
 * @property {(index: number) => Entry|undefined} at
 * @property {(entry: Entry) => number} indexOf
 * @property {(who: string, from: number, to: number) => void} [near]
 */

const SPARE_ROWS = 3;
const REST_MS = 200;

/** In place of a card until its photo is loaded. */
class Placeholder {
  entry = null;
  element = el('li', { class: 'card is-coming', tabindex: '-1', 'aria-busy': 'true' }, el('span', { class: 'sr-only' }, 'Loading'));

  /** @param {string} key */
  constructor(key) {
    this.element.setAttribute('data-card', key);
  }

  /** @param {number} position @param {number} size */
  place(position, size) {
    this.element.setAttribute('aria-posinset', String(position));
    this.element.setAttribute('aria-setsize', String(size));
  }

  update() {}

  focus() {
    this.element.focus({ preventScroll: true });
  }

  remove() {
    this.element.remove();
  }
}

export class Grid {
  /** @type {Listing} */ #entries = [];
  /** @type {Map<string, Card|Placeholder>} */ #cards = new Map();
  /** The index of the first card. */ #from = 0;
  #scale = new Scale();
  #measured = { width: 0, columns: 1, gap: 0, height: 0 };
  /** The index of the first photo in the window. */ first = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #rest;

  /** @param {HTMLElement} room holds the list @param {(entry: Entry) => Card} make @param {() => void} [rested] called when scrolling has ended */
  constructor(room, make, rested = () => {}) {
    this.room = room;
    this.list = /** @type {HTMLElement} */ (room.firstElementChild);
    this.make = make;
    this.rested = rested;
    const draw = () => this.draw();
    addEventListener('scroll', () => this.#scrolled(), { passive: true });
    new ResizeObserver(draw).observe(room);
    addEventListener('resize', () => {
      this.#measured.width = 0; // another size of type counts too
      draw();
    });
  }

  /** @param {Listing} entries */
  show(entries) {
    this.#entries = entries;
    this.draw();
  }

  /** Redraw the existing cards. */
  refresh() {
    for (const card of this.#cards.values()) card.update();
  }

  #scrolled() {
    this.draw();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (this.room.offsetParent === null) return;
      const by = this.#scale.settle();
      if (by) {
        scrollBy({ top: by, behavior: 'instant' });
        this.draw();
      }
      this.rested();
    }, REST_MS);
  }

  /** The number of columns, and the distance between two rows in pixels; they follow from the width. */
  #measures() {
    const { width } = this.room.getBoundingClientRect();
    if (width !== this.#measured.width || !this.#measured.height) {
      const style = getComputedStyle(this.list);
      const columns = style.gridTemplateColumns.split(' ').filter(Boolean).length || 1;
      const gap = parseFloat(style.rowGap) || 0;
      this.#measured = { width, columns, gap, height: parseFloat(style.gridAutoRows) + gap || 0 };
    }
    return this.#measured;
  }

  /** The index of the card that has the focus, or -1. */
  get focusedAt() {
    const at = [...this.list.children].findIndex((card) => card.contains(document.activeElement));
    return at < 0 ? -1 : this.#from + at;
  }

  /** The entry whose card has the focus. @returns {Entry|null} */
  get focused() {
    const at = this.focusedAt;
    return at < 0 ? null : (this.#entries.at(at) ?? null);
  }

  /** Move the focus as an arrow key does. @param {string} arrow "ArrowLeft" and so on @returns {boolean} whether there is a card */
  move(arrow) {
    const { columns, height } = this.#measures();
    const from = this.focusedAt;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[arrow] ?? 0;
    const to = from + by;
    if (from < 0 || to < 0 || to >= this.#entries.length) return false;
    const top = Math.floor(to / columns) * height - this.#place();
    if (top < height) scrollBy(0, top - height);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.draw();
    this.#cards.get(this.#keyAt(to))?.focus();
    return true;
  }

  /** Scroll to a photo. @param {number} index */
  goTo(index) {
    const { columns, height } = this.#measures();
    this.draw(); // the room gets its height
    const top = this.#scale.toDocument(Math.floor(index / columns) * height);
    scrollTo({ top: this.room.getBoundingClientRect().top + scrollY + top, behavior: 'instant' });
    this.draw();
  }

  /** Follow the window; return the place of its top edge in the list. */
  #place() {
    return this.#scale.follow(-this.room.getBoundingClientRect().top, innerHeight);
  }

  /** @param {number} index */
  #keyAt(index) {
    return this.#entries.at(index)?.key ?? `coming-${index}`;
  }

  draw() {
    const { columns, gap, height } = this.#measures();
    if (this.room.offsetParent === null || !(height > 0)) return;
    const rows = Math.ceil(this.#entries.length / columns);
    this.#scale.resize(rows * height - gap);
    const place = this.#place();
    const last = Math.max(0, Math.ceil((innerHeight + place) / height) + SPARE_ROWS);
    const first = Math.min(Math.max(0, rows - 1), Math.max(0, Math.floor(place / height) - SPARE_ROWS));
    const shift = place + this.room.getBoundingClientRect().top;
    this.room.style.height = `${this.#scale.height}px`;
    this.list.style.transform = `translateY(${first * height - shift}px)`;
    this.first = Math.max(0, Math.floor(place / height)) * columns;
    const [from, to] = [first * columns, Math.min(this.#entries.length, last * columns)];
    this.#entries.near?.('grid', from, last * columns);
    this.#fill(from, to);
  }

  /** @param {number} from @param {number} to positions, `to` excluded */
  #fill(from, to) {
    const focused = this.focusedAt;
    const wanted = Array.from({ length: Math.max(0, to - from) }, (_, n) => this.#entries.at(from + n));
    const keys = new Set(wanted.map((_, n) => this.#keyAt(from + n)));
    let lost = false;
    for (const [key, card] of this.#cards) {
      if (keys.has(key)) continue;
      lost ||= !card.entry && card.element.contains(document.activeElement);
      card.remove();
      this.#cards.delete(key);
    }
    this.#from = from;
    wanted.forEach((entry, n) => {
      const key = this.#keyAt(from + n);
      let card = this.#cards.get(key);
      if (!card || card.entry !== (entry ?? null)) {
        card?.remove();
        card = entry ? this.make(entry) : new Placeholder(key);
        this.#cards.set(key, card);
      }
      card.place(from + n + 1, this.#entries.length);
      if (this.list.children[n] !== card.element) this.list.insertBefore(card.element, this.list.children[n] ?? null);
    });
    if (lost && focused >= from && focused < to) this.#cards.get(this.#keyAt(focused))?.focus(); // its photo has arrived
  }
}
