// A grid that creates only the cards near the window, so that ten thousand photos cost as much as fifty.

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./card.js').Card} Card */

const SPARE_ROWS = 3;

export class Grid {
  /** @type {Entry[]} */ #entries = [];
  /** @type {Map<string, Card>} */ #cards = new Map();

  /** @param {HTMLElement} room holds the list and is as high as all cards @param {(entry: Entry) => Card} make */
  constructor(room, make) {
    this.room = room;
    this.list = /** @type {HTMLElement} */ (room.firstElementChild);
    this.make = make;
    const draw = () => this.draw();
    addEventListener('scroll', draw, { passive: true });
    new ResizeObserver(draw).observe(room);
    addEventListener('resize', draw);
  }

  /** @param {Entry[]} entries */
  show(entries) {
    this.#entries = entries;
    this.draw();
  }

  /** Redraw the existing cards. */
  refresh() {
    for (const card of this.#cards.values()) card.update();
  }

  /** The number of columns, and the distance between two rows in pixels. */
  #measures() {
    const style = getComputedStyle(this.list);
    const columns = style.gridTemplateColumns.split(' ').filter(Boolean).length || 1;
    const gap = parseFloat(style.rowGap) || 0;
    return { columns, gap, height: parseFloat(style.gridAutoRows) + gap };
  }

  /** The entry whose card has the focus. @returns {Entry|null} */
  get focused() {
    const key = document.activeElement?.closest('[data-card]')?.getAttribute('data-card');
    return (key && this.#cards.get(key)?.entry) || null;
  }

  /** Move the focus as an arrow key does. @param {string} arrow "ArrowLeft" and so on @returns {Entry|null} where it is now */
  move(arrow) {
    const { columns, height } = this.#measures();
    const from = this.focused ? this.#entries.indexOf(this.focused) : -1;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[arrow] ?? 0;
    const to = from + by;
    const entry = this.#entries[to];
    if (from < 0 || !entry) return null;
    const top = this.room.getBoundingClientRect().top + Math.floor(to / columns) * height;
    if (top < height) scrollBy(0, top - height);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.draw();
    this.#cards.get(entry.key)?.focus();
    return entry;
  }

  draw() {
    const { columns, gap, height } = this.#measures();
    if (this.room.offsetParent === null || !(height > 0)) return;
    const rows = Math.ceil(this.#entries.length / columns);
    const top = this.room.getBoundingClientRect().top;
    const last = Math.max(0, Math.ceil((innerHeight - top) / height) + SPARE_ROWS);
    const first = Math.min(Math.max(0, rows - 1), Math.max(0, Math.floor(-top / height) - SPARE_ROWS));
    this.room.style.height = `${Math.max(0, rows * height - gap)}px`;
    this.list.style.transform = `translateY(${first * height}px)`;
    this.#fill(first * columns, Math.min(this.#entries.length, last * columns));
  }

  /** @param {number} from @param {number} to positions, `to` excluded */
  #fill(from, to) {
    const wanted = this.#entries.slice(from, to);
    const keys = new Set(wanted.map((entry) => entry.key));
    for (const [key, card] of this.#cards) {
      if (keys.has(key)) continue;
      card.remove();
      this.#cards.delete(key);
    }
    wanted.forEach((entry, n) => {
      let card = this.#cards.get(entry.key);
      if (card?.entry !== entry) {
        card?.remove();
        card = this.make(entry);
        this.#cards.set(entry.key, card);
      }
      card.place(from + n + 1, this.#entries.length);
      if (this.list.children[n] !== card.element) this.list.insertBefore(card.element, this.list.children[n] ?? null);
    });
  }
}
