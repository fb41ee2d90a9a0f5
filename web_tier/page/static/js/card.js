// One photo in the grid: its thumbnail with its tags, its progress or its error.

import { thumbnail } from './api.js';
import { drawBoxes } from './boxes.js';
import { el, say, setShare, setText } from './dom.js';
import { failureOf, isSure, phaseOf } from './entries.js';
import { bytes } from './format.js';
import { tagRow } from './tags.js';

/** @typedef {import('./entries.js').Entry} Entry */
/**
 * @typedef {object} Actions
 * @property {(entry: Entry) => void} open
 * @property {(entry: Entry) => void} again
 * @property {(entry: Entry, range: boolean) => void} choose
 * @property {(entry: Entry) => boolean} chosen
 * @property {() => number} atLeast the confidence from which on tags are shown
 */

const SHOWN_TAGS = 5;

/**
 * Show the browser's own file, or else the server's thumbnail once there is one.
 * @param {HTMLImageElement} image @param {Entry} entry @param {boolean} [whole] prefer the file itself: it is larger
 */
export function showPicture(image, entry, whole = false) {
  const server = entry.item ? thumbnail(entry.item.image_id) : '';
  const local = entry.file && !image.dataset.unreadable && (whole || !server || image.dataset.local) ? entry.file : null;
  if (local) {
    if (image.dataset.local) return;
    image.dataset.local = 'yes';
    const url = URL.createObjectURL(local);
    image.onload = () => URL.revokeObjectURL(url);
    image.onerror = () => {
      URL.revokeObjectURL(url); // a browser that cannot show HEIC waits for the server's thumbnail
      delete image.dataset.local;
      image.dataset.unreadable = 'yes';
      image.removeAttribute('src');
      showPicture(image, entry, whole);
    };
    image.src = url;
  } else if (server && image.getAttribute('src') !== server) {
    image.onload = null;
    image.onerror = () => image.removeAttribute('src');
    image.src = server;
  }
}

/** The text in place of tags while there are none. @param {Entry} entry */
function status(entry) {
  switch (phaseOf(entry)) {
    case 'tagged':
      return entry.item?.caption ?? (entry.item?.tags.length ? '' : 'No tag is certain enough.');
    case 'failed':
    case 'refused':
      return failureOf(entry);
    case 'cancelled':
      return 'Cancelled';
    case 'uploading':
      if (entry.upload?.state === 'sending') return 'Uploading';
      return entry.upload?.state === 'retrying' ? entry.upload.reason : `${bytes(entry.bytes)}, to be uploaded`;
    default:
      return 'Waiting for its turn';
  }
}

export class Card {
  #drawn = '';
  /** @type {import('./types.js').Item|null} */ #item = null;
  #image = /** @type {HTMLImageElement} */ (el('img', { alt: '', loading: 'lazy', decoding: 'async' }));
  #name = el('button', { type: 'button', class: 'card-name' });
  #status = el('p', { class: 'card-status' });
  #tags = el('ul', { class: 'tags' });
  #sent = el('span', { class: 'card-sent', 'aria-hidden': 'true' });
  #again = el('button', { type: 'button', class: 'card-again', hidden: '' }, 'Try again');

  #picture = el('div', { class: 'card-picture' }, this.#image, this.#sent);
  #choice = /** @type {HTMLInputElement} */ (el('input', { type: 'checkbox' }));

  /** @param {Entry} entry @param {Actions} actions */
  constructor(entry, actions) {
    this.entry = entry;
    this.actions = actions;
    this.element = el(
      'li',
      { class: 'card', 'data-card': entry.key },
      this.#picture,
      el('div', { class: 'card-body' }, this.#name, this.#status, this.#tags, this.#again),
      el('label', { class: 'card-choice' }, this.#choice),
    );
    this.#choice.setAttribute('aria-label', `Select ${entry.name}`);
    this.#choice.addEventListener('click', (event) => {
      actions.choose(entry, event.shiftKey);
      this.#choice.checked = actions.chosen(entry);
    });
    this.#name.addEventListener('click', (event) => {
      if (event.shiftKey || event.ctrlKey || event.metaKey) actions.choose(entry, event.shiftKey);
      else actions.open(entry);
    });
    this.#again.addEventListener('click', () => actions.again(entry));
    setText(this.#name, entry.name.split('/').at(-1) || entry.name);
    this.#name.title = entry.name;
    this.update();
  }

  update() {
    const { entry } = this;
    const phase = phaseOf(entry);
    setShare(this.#sent, phase === 'uploading' && entry.bytes ? (entry.upload?.sent ?? 0) / entry.bytes : 0);
    const chosen = this.actions.chosen(entry);
    this.#choice.checked = chosen;
    this.element.classList.toggle('is-chosen', chosen);
    const atLeast = this.actions.atLeast();
    const now = `${phase} ${entry.upload?.state} ${entry.upload?.reason} ${atLeast}`;
    if (now === this.#drawn && entry.item === this.#item) return;
    this.#drawn = now;
    this.#item = entry.item;
    this.#choice.disabled = phase !== 'tagged';
    this.element.dataset.phase = phase;
    say(this.#status, status(entry));
    this.#status.title = phase === 'failed' || phase === 'refused' ? (this.#status.textContent ?? '') : '';
    this.#again.hidden = entry.upload?.state !== 'stuck' && phase !== 'failed';
    const tags = (entry.item?.tags ?? []).filter((tag) => isSure(tag, atLeast));
    this.#tags.replaceChildren(...tags.slice(0, SHOWN_TAGS).map(tagRow));
    this.#tags.hidden = !tags.length;
    showPicture(this.#image, entry);
    drawBoxes(this.#picture, this.#image, tags, 'slice', false);
  }

  /** @param {number} position from 1 @param {number} size */
  place(position, size) {
    this.element.setAttribute('aria-posinset', String(position));
    this.element.setAttribute('aria-setsize', String(size));
  }

  focus() {
    this.#name.focus({ preventScroll: true });
  }

  remove() {
    this.#image.removeAttribute('src');
    this.element.remove();
  }
}
