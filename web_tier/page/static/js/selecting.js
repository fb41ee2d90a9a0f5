// The bar for selected photos, and the keys that select and edit.

import { confirmed } from './confirm.js';
import { byId, el, setText, sync } from './dom.js';
import { count, plural } from './format.js';
import { Listing } from './large.js';
import { Selection, isTagged } from './selection.js';
import { TagField } from './tagfield.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./entries.js').Wanted} Wanted */
/** @typedef {import('./types.js').Item} Item */

const SHOWN_TAGS = 8;
/** Photos that a range can select in a large batch: more are slow to load, and “Select all” needs none. */
const MOST = 10_000;

/** The tags of several photos, the most frequent first. @param {Item[]} items @returns {[string, number][]} */
export function tagsOf(items) {
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const { tags } of items) for (const { name } of tags) seen.set(name, (seen.get(name) ?? 0) + 1);
  return [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/**
 * @typedef {object} Shown what the view shows
 * @property {() => import('./grid.js').Listing} visible in the order on show
 * @property {() => Wanted} wanted the filter by which it is chosen
 * @property {() => import('./large.js').LargeEntries|null} large the photos of a large batch
 */

export class Selecting {
  #selection = new Selection();
  #field;
  /** Where a range begins in a large batch. @type {{key: string, at: number}|null} */ #from = null;
  /** The filter by which everything was selected. @type {Wanted|null} */ #wanted = null;
  /** The list in which everything was selected. */ #key = '';

  /** @param {import('./editor.js').Editor} editor @param {Shown} shown @param {() => void} changed */
  constructor(editor, shown, changed) {
    this.editor = editor;
    this.shown = shown;
    this.#selection.addEventListener('change', changed);
    this.#field = new TagField(byId('selected-add'), { label: 'Add a tag to the selected photos', placeholder: 'Add a tag', picked: (name) => this.#edit({ add: [name] }) });
    byId('selected-all').addEventListener('click', () => this.#all());
    byId('selected-none').addEventListener('click', () => this.clear());
  }

  /** @param {Entry} entry @param {boolean} range from the last one chosen */
  choose(entry, range) {
    const listed = this.shown.visible();
    if (listed instanceof Listing) this.#chooseListed(entry, range, listed);
    else if (range) this.#selection.extend(entry, /** @type {Entry[]} */ (listed).filter(isTagged));
    else if (isTagged(entry)) this.#selection.toggle(entry);
  }

  /** Choose in a large batch, of which a range may have to be loaded first. @param {Entry} entry @param {boolean} range @param {Listing} listed */
  async #chooseListed(entry, range, listed) {
    const at = listed.indexOf(entry);
    if (!range || this.#from?.key !== listed.key || at < 0) {
      if (isTagged(entry)) this.#selection.toggle(entry);
      this.#from = { key: listed.key, at };
      return;
    }
    const [first, last] = [Math.min(at, this.#from.at), Math.max(at, this.#from.at)];
    if (last - first >= MOST) {
      this.editor.say(`At most ${count(MOST)} photos can be selected in one go. “Select all” selects all that the filter shows.`);
      return;
    }
    try {
      this.#selection.add((await listed.between(first, last + 1)).filter(isTagged));
    } catch (error) {
      this.editor.say(`Not selected: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {Entry} entry */
  chosen(entry) {
    return this.#selection.has(entry);
  }

  /** Find a selected photo. @param {string} imageId */
  find(imageId) {
    return this.#selection.find(imageId);
  }

  clear() {
    this.#selection.clear();
    this.#from = null;
  }

  /** Handle keys: arrows move, x selects, Shift with an arrow extends the selection, t goes to the field. @param {import('./grid.js').Grid} grid @param {HTMLElement} view */
  keyboard(grid, view) {
    addEventListener('keydown', (event) => {
      if (view.hidden || event.altKey || document.querySelector('dialog[open]')) return;
      const target = /** @type {Element} */ (event.target);
      if (target.closest('input:not([type=checkbox]), select, textarea')) return;
      if (this.#command(event, grid)) event.preventDefault();
    });
  }

  /** @param {KeyboardEvent} event @param {import('./grid.js').Grid} grid @returns {boolean} whether it was one */
  #command(event, grid) {
    const { key } = event;
    const control = event.ctrlKey || event.metaKey;
    const from = grid.focused;
    if (key.startsWith('Arrow') && grid.focusedAt >= 0 && !control) {
      if (!grid.move(key)) return false;
      const to = grid.focused;
      if (event.shiftKey && from && !this.chosen(from)) this.choose(from, false);
      if (event.shiftKey && to) this.choose(to, true);
    } else if (key === 'x' && from && !control) this.choose(from, false);
    else if (key === 'a' && control) this.#all();
    else if (key === 'Escape' && !this.#selection.empty) this.clear();
    else if (key === 't' && !control && (from || !this.#selection.empty)) this.#write(from);
    else return false;
    return true;
  }

  /** @param {Entry|null} from chosen where nothing is */
  #write(from) {
    if (this.#selection.empty && from) this.choose(from, false);
    this.draw();
    this.#field.input.focus();
  }

  #all() {
    const listed = this.shown.visible();
    if (!(listed instanceof Listing)) {
      this.#selection.all(/** @type {Entry[]} */ (listed).filter(isTagged));
      return;
    }
    this.#wanted = this.shown.wanted();
    this.#key = listed.key;
    this.#selection.allListed();
  }

  get #items() {
    return this.#selection.entries.flatMap(({ item }) => (item ? [item] : []));
  }

  /** @param {import('./editor.js').Change} change */
  #edit(change) {
    if (this.#selection.everything) {
      this.#editEverything(change);
      return;
    }
    const items = affected(this.#items, change);
    if (items.length) this.editor.edit(items, change);
  }

  /** Edit all photos that passed the filter, page by page. @param {import('./editor.js').Change} change */
  async #editEverything(change) {
    const { large } = this.shown;
    const photos = large();
    if (!photos || !this.#wanted) return;
    const left = new Set(this.#selection.entries.map(({ key }) => key));
    const name = (change.add ?? change.remove ?? [])[0];
    const title = change.add ? `Add “${name}” to ${this.#count}?` : `Remove “${name}” from ${this.#count}?`;
    const text = 'This can take some minutes. Keep this page open meanwhile; afterwards you can undo it.';
    if (!(await confirmed({ title, text, yes: change.add ? 'Add' : 'Remove' }))) return;
    const pages = photos.walk(this.#wanted);
    const groups = (async function* () {
      for await (const items of pages) yield affected(items.filter(({ image_id: id }) => !left.has(id)), change);
    })();
    this.editor.editGroups(groups, change);
  }

  /** The number of selected photos, in words. */
  get #count() {
    const { size, everything } = this.#selection;
    if (!everything) return plural(size, 'photo');
    const { show, text, atLeast } = this.#wanted ?? { show: 'all', text: '', atLeast: 0 };
    const counted = !text && !atLeast && (show === 'all' || show === 'tagged');
    if (counted) return `all ${plural((this.shown.large()?.counts().tagged ?? 0) - size, 'tagged photo')}`;
    return `all tagged photos that match${size ? `, except ${count(size)}` : ''}`;
  }

  draw() {
    const listed = this.shown.visible();
    if (this.#selection.everything && listed instanceof Listing && listed.key !== this.#key) this.clear(); // the cards are other ones now
    const { size, everything, empty } = this.#selection;
    byId('selected').hidden = empty;
    if (empty) return;
    setText(byId('selected-count'), `${this.#count.replace('all', 'All')} selected`);
    /** @type {[string, number][]} */
    const tags = everything ? (this.shown.large()?.topTags(SHOWN_TAGS) ?? []) : tagsOf(this.#items).slice(0, SHOWN_TAGS);
    sync(
      byId('selected-tags'),
      tags,
      ([name]) => name,
      ([name]) => {
        const remove = el('button', { type: 'button', class: 'chip', title: `Remove “${name}” from the selected photos` }, el('span', {}, name), ' ', el('span', { class: 'count' }), ' ', el('span', { 'aria-hidden': 'true' }, '×'), el('span', { class: 'sr-only' }, ', remove'));
        remove.addEventListener('click', () => this.#edit({ remove: [name] }));
        return remove;
      },
      (chip, [, n]) => setText(chip.children[1], size > 1 && !everything ? count(n) : ''),
    );
  }
}

/** The photos that a change affects: a tag can be removed only where it is. @param {Item[]} items @param {import('./editor.js').Change} change */
function affected(items, { remove = [] }) {
  return remove.length ? items.filter(({ tags }) => tags.some(({ name }) => name === remove[0])) : items;
}
