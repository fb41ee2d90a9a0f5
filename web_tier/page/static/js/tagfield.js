// An input for one tag, with the tags of other photos as suggestions.

import { call, query } from './api.js';
import { el } from './dom.js';
import { count } from './format.js';

/** @typedef {{name: string, count: number}} Counted */

const SUGGESTIONS = 8;
const PAUSE_MS = 120;
let made = 0;

/** @param {string} text @param {number} [limit] @returns {Promise<{tags: Counted[]}>} the most frequent ones where `text` is empty */
export const knownTags = (text, limit = SUGGESTIONS) => call(`/tags${query({ q: text, limit })}`);

export class TagField {
  /** @type {Counted[]} */ #found = [];
  #at = -1;
  #asked = 0;
  /** @type {number|undefined} */ #timer;

  /**
   * @param {HTMLElement} place gets the field @param {{label: string, placeholder: string, picked: (name: string) => void}} options
   */
  constructor(place, { label, placeholder, picked }) {
    const id = `suggestions-${(made += 1)}`;
    this.picked = picked;
    this.input = /** @type {HTMLInputElement} */ (
      el('input', { type: 'text', role: 'combobox', 'aria-label': label, 'aria-autocomplete': 'list', 'aria-expanded': 'false', 'aria-controls': id, placeholder, autocomplete: 'off', spellcheck: 'false', maxlength: '100' })
    );
    this.list = el('ul', { id, role: 'listbox', 'aria-label': 'Known tags', class: 'suggestions', hidden: '' });
    place.classList.add('tagfield');
    place.append(this.input, this.list);
    this.input.addEventListener('input', () => this.#ask());
    this.input.addEventListener('focus', () => this.input.value && this.#ask());
    this.input.addEventListener('blur', () => this.#close());
    this.input.addEventListener('keydown', (event) => this.#key(event));
    this.list.addEventListener('pointerdown', (event) => {
      const option = /** @type {Element} */ (event.target).closest('[role=option]');
      event.preventDefault(); // the field keeps the focus
      if (option) this.#pick(this.#found[[...this.list.children].indexOf(option)].name);
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    event.stopPropagation(); // keep it from the grid and the dialog around
    const { key } = event;
    if (key === 'Enter' || key === ',') {
      event.preventDefault();
      this.#pick(this.#found[this.#at]?.name ?? this.input.value);
    } else if (key === 'ArrowDown' || key === 'ArrowUp') {
      event.preventDefault();
      if (this.list.hidden) this.#ask();
      else this.#mark((this.#at + (key === 'ArrowDown' ? 1 : this.#found.length + (this.#at < 0 ? 0 : -1))) % this.#found.length);
    } else if (key === 'Escape' && !this.list.hidden) {
      event.preventDefault();
      this.#close();
    } else if (key === 'Escape') {
      this.input.blur();
    } else if (key === 'z' && (event.ctrlKey || event.metaKey) && !this.input.value) {
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key, ctrlKey: true, bubbles: true }));
    }
  }

  #ask() {
    clearTimeout(this.#timer);
    const number = (this.#asked += 1);
    this.#timer = setTimeout(async () => {
      try {
        const { tags } = await knownTags(this.input.value.trim());
        if (number === this.#asked && document.activeElement === this.input) this.#show(tags);
      } catch {
        this.#close(); // typing works without suggestions
      }
    }, PAUSE_MS);
  }

  /** @param {Counted[]} tags */
  #show(tags) {
    this.#found = tags;
    this.list.replaceChildren(
      ...tags.map(({ name, count: n }, at) =>
        el('li', { role: 'option', id: `${this.list.id}-${at}`, 'aria-selected': 'false' }, el('span', {}, name), ' ', el('span', { class: 'muted' }, count(n))),
      ),
    );
    this.#mark(-1);
    this.list.hidden = !tags.length;
    this.input.setAttribute('aria-expanded', String(tags.length > 0));
  }

  /** @param {number} at */
  #mark(at) {
    this.#at = at;
    [...this.list.children].forEach((option, n) => option.setAttribute('aria-selected', String(n === at)));
    this.list.children[at]?.scrollIntoView({ block: 'nearest' });
    if (at < 0) this.input.removeAttribute('aria-activedescendant');
    else this.input.setAttribute('aria-activedescendant', `${this.list.id}-${at}`);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#found = [];
    this.#at = -1;
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }

  /** @param {string} name */
  #pick(name) {
    this.#close();
    const text = name.trim();
    this.input.value = '';
    if (text) this.picked(text);
  }
}
