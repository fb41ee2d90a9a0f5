// One photo: its thumbnail, and beside it its tags, its progress or the reason why it failed.

import { thumbnail } from './api.js';
import { el, say, setShare, setText } from './dom.js';
import { failureOf, phaseOf } from './entries.js';
import { bytes, percent } from './format.js';

/** @typedef {import('./entries.js').Entry} Entry */

const SHOWN_TAGS = 5;

/** @param {import('./types.js').Tag} tag @returns {HTMLElement} a row whose background is the bar */
export function tagRow(tag) {
  const row = el('li', { class: 'tag', title: tag.name }, el('span', { class: 'tag-name' }, tag.name));
  if (tag.confidence !== null) {
    const bar = el('span', { class: 'tag-bar', 'aria-hidden': 'true' });
    setShare(bar, tag.confidence);
    row.prepend(bar);
    row.append(' ', el('span', { class: 'tag-number' }, percent(tag.confidence)));
  }
  return row;
}

/**
 * Shows the file that is here in the browser, else the server's thumbnail once there is one.
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

/** What is said instead of tags while there are none. @param {Entry} entry */
function status(entry) {
  switch (phaseOf(entry)) {
    case 'tagged':
      return entry.item?.caption ?? (entry.item?.tags.length ? '' : 'No tag is certain enough.');
    case 'failed':
    case 'refused':
      return failureOf(entry);
    case 'uploading':
      if (entry.upload?.state === 'sending') return 'Uploading';
      return entry.upload?.state === 'retrying' ? entry.upload.reason : `${bytes(entry.bytes)}, to be uploaded`;
    default:
      return 'Waiting for its turn';
  }
}

export class Card {
  #drawn = '';
  #image = /** @type {HTMLImageElement} */ (el('img', { alt: '', loading: 'lazy', decoding: 'async' }));
  #name = el('button', { type: 'button', class: 'card-name' });
  #status = el('p', { class: 'card-status' });
  #tags = el('ul', { class: 'tags' });
  #sent = el('span', { class: 'card-sent', 'aria-hidden': 'true' });
  #again = el('button', { type: 'button', class: 'card-again', hidden: '' }, 'Try again');

  /** @param {Entry} entry @param {{open: (entry: Entry) => void, again: (entry: Entry) => void}} actions */
  constructor(entry, actions) {
    this.entry = entry;
    this.element = el(
      'li',
      { class: 'card' },
      el('div', { class: 'card-picture' }, this.#image, this.#sent),
      el('div', { class: 'card-body' }, this.#name, this.#status, this.#tags, this.#again),
    );
    this.#name.addEventListener('click', () => actions.open(entry));
    this.#again.addEventListener('click', () => actions.again(entry));
    setText(this.#name, entry.name.split('/').at(-1) || entry.name);
    this.#name.title = entry.name;
    this.update();
  }

  update() {
    const { entry } = this;
    const phase = phaseOf(entry);
    setShare(this.#sent, phase === 'uploading' && entry.bytes ? (entry.upload?.sent ?? 0) / entry.bytes : 0);
    const now = `${phase} ${entry.item?.image_id} ${entry.item?.finished_at} ${entry.upload?.state} ${entry.upload?.reason}`;
    if (now === this.#drawn) return;
    this.#drawn = now;
    this.element.dataset.phase = phase;
    say(this.#status, status(entry));
    this.#status.title = phase === 'failed' || phase === 'refused' ? (this.#status.textContent ?? '') : '';
    this.#again.hidden = entry.upload?.state !== 'stuck';
    const tags = entry.item?.tags ?? [];
    this.#tags.replaceChildren(...tags.slice(0, SHOWN_TAGS).map(tagRow));
    this.#tags.hidden = !tags.length;
    showPicture(this.#image, entry);
  }

  /** @param {number} position from 1 @param {number} size */
  place(position, size) {
    this.element.setAttribute('aria-posinset', String(position));
    this.element.setAttribute('aria-setsize', String(size));
  }

  remove() {
    this.#image.removeAttribute('src');
    this.element.remove();
  }
}
