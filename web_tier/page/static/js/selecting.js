// The bar for selected photos, and the keys that select and edit.

import { byId, el, setText, sync } from './dom.js';
import { count, plural } from './format.js';
import { Selection } from './selection.js';
import { TagField } from './tagfield.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./types.js').Item} Item */

const SHOWN_TAGS = 8;

/** The tags of several photos, the most frequent first. @param {Item[]} items @returns {[string, number][]} */
export function tagsOf(items) {
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const { tags } of items) for (const { name } of tags) seen.set(name, (seen.get(name) ?? 0) + 1);
  return [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

export class Selecting {
  #selection = new Selection();
  #field;

  /** @param {import('./editor.js').Editor} editor @param {() => Entry[]} visible in the order on show @param {() => void} changed */
  constructor(editor, visible, changed) {
    this.editor = editor;
    this.visible = visible;
    this.#selection.addEventListener('change', changed);
    this.#field = new TagField(byId('selected-add'), { label: 'Add a tag to the selected photos', placeholder: 'Add a tag', picked: (name) => this.#edit({ add: [name] }) });
    byId('selected-all').addEventListener('click', () => this.#all());
    byId('selected-none').addEventListener('click', () => this.clear());
  }

  /** @param {Entry} entry @param {boolean} range from the last one chosen */
  choose(entry, range) {
    if (range) this.#selection.extend(entry, this.visible().filter(isTagged));
    else if (isTagged(entry)) this.#selection.toggle(entry);
  }

  /** @param {Entry} entry */
  chosen(entry) {
    return this.#selection.has(entry);
  }

  clear() {
    this.#selection.clear();
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
    if (key.startsWith('Arrow') && from && !control) {
      const to = grid.move(key);
      if (!to) return false;
      if (event.shiftKey && !this.chosen(from)) this.choose(from, false);
      if (event.shiftKey) this.choose(to, true);
    } else if (key === 'x' && from && !control) this.choose(from, false);
    else if (key === 'a' && control) this.#all();
    else if (key === 'Escape' && this.#selection.size) this.clear();
    else if (key === 't' && !control && (from || this.#selection.size)) this.#write(from);
    else return false;
    return true;
  }

  /** @param {Entry|null} from chosen where nothing is */
  #write(from) {
    if (!this.#selection.size && from) this.choose(from, false);
    this.draw();
    this.#field.input.focus();
  }

  #all() {
    this.#selection.all(this.visible().filter(isTagged));
  }

  get #items() {
    return this.#selection.entries.flatMap(({ item }) => (item ? [item] : []));
  }

  /** @param {import('./editor.js').Change} change */
  #edit(change) {
    const [removed] = change.remove ?? [];
    const items = removed ? this.#items.filter(({ tags }) => tags.some(({ name }) => name === removed)) : this.#items;
    if (items.length) this.editor.edit(items, change);
  }

  draw() {
    const { size } = this.#selection;
    byId('selected').hidden = !size;
    if (!size) return;
    setText(byId('selected-count'), `${plural(size, 'photo')} selected`);
    sync(
      byId('selected-tags'),
      tagsOf(this.#items).slice(0, SHOWN_TAGS),
      ([name]) => name,
      ([name]) => {
        const remove = el('button', { type: 'button', class: 'chip', title: `Remove “${name}” from the selected photos` }, el('span', {}, name), ' ', el('span', { class: 'count' }), ' ', el('span', { 'aria-hidden': 'true' }, '×'), el('span', { class: 'sr-only' }, ', remove'));
        remove.addEventListener('click', () => this.#edit({ remove: [name] }));
        return remove;
      },
      (chip, [, n]) => setText(chip.children[1], size > 1 ? count(n) : ''),
    );
  }
}

/** Whether it can be edited: only tagged photos can. @param {Entry} entry */
const isTagged = (entry) => entry.item?.status === 'succeeded';
