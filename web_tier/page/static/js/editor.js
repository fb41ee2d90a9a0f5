// Edit the tags of one photo or of many, and undo each edit.

import { call, json } from './api.js';
import { byId, setText } from './dom.js';
import { plural } from './format.js';

/** @typedef {import('./types.js').Item} Item */
/** @typedef {{add?: string[], remove?: string[]}} Change */
/** @typedef {{undone: string, steps: {batchId: string, editId: string}[]}} Done */

const AT_ONCE = 500;
const SHOWN_MS = 12_000;

/** @param {Change} change @param {number} photos */
function sentence({ add = [], remove = [] }, photos) {
  const many = (/** @type {string} */ word) => (photos === 1 ? '' : ` ${word} ${plural(photos, 'photo')}`);
  if (add.length && remove.length) return `Renamed “${remove[0]}” to “${add[0]}”${many('on')}.`;
  return add.length ? `Added “${add[0]}”${many('to')}.` : `Removed “${remove[0]}”${many('from')}.`;
}

/** @param {Change} change */
function undoneSentence({ add = [], remove = [] }) {
  return remove.length ? `“${remove[0]}” is back.` : `“${add[0]}” is removed again.`;
}

/** Fires 'items' (detail: Item[]) with the photos as they are after a change. */
export class Editor extends EventTarget {
  /** @type {Done[]} */ #done = [];
  #toast = byId('edited');
  /** @type {number|undefined} */ #fading;
  #last = Promise.resolve();

  constructor() {
    super();
    byId('edited-undo').addEventListener('click', () => this.undo());
    addEventListener('keydown', (event) => {
      if (event.key.toLowerCase() !== 'z' || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
      const field = event.target instanceof HTMLInputElement ? event.target : null;
      if (field?.value || !this.#done.length) return; // the field's own undo comes first
      event.preventDefault();
      this.undo();
    });
  }

  /** @param {Item[]} items @param {Change} change */
  edit(items, change) {
    return this.editGroups([items], change);
  }

  /** Edit photos that come in groups, as one edit to undo. @param {Iterable<Item[]>|AsyncIterable<Item[]>} groups @param {Change} change */
  editGroups(groups, change) {
    return this.#inTurn(async () => {
      /** @type {Done} */
      const done = { undone: undoneSentence(change), steps: [] };
      let photos = 0;
      try {
        for await (const items of groups) {
          if (photos) this.#say(`${sentence(change, photos)} Going on.`, false);
          await this.#send(items, change, done);
          photos += items.length;
        }
      } finally {
        if (done.steps.length) this.#done.push(done);
      }
      this.#say(photos ? sentence(change, photos) : 'No photo had this tag.', this.#done.length > 0);
    });
  }

  /** @param {Item[]} items @param {Change} change @param {Done} done gets the steps */
  async #send(items, change, done) {
    for (const [batchId, ids] of byBatch(items)) {
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        const body = { image_ids: ids.slice(at, at + AT_ONCE), add: change.add ?? [], remove: change.remove ?? [] };
        const { images, edit_id: editId } = await call(`/batches/${encodeURIComponent(batchId)}/tags`, json('PATCH', body));
        done.steps.push({ batchId, editId });
        this.#tell(images);
      }
    }
  }

  /** Tell why something was not done. @param {string} text */
  say(text) {
    this.#say(text, this.#done.length > 0);
  }

  undo() {
    return this.#inTurn(async () => {
      const done = this.#done.at(-1);
      if (!done) return;
      for (let step = done.steps.at(-1); step; step = done.steps.at(-1)) {
        const { batchId, editId } = step;
        const { images } = await call(`/batches/${encodeURIComponent(batchId)}/tags/undo`, json('POST', { edit_id: editId }));
        done.steps.pop();
        this.#tell(images);
      }
      this.#done.pop();
      this.#say(`Undone: ${done.undone}`, this.#done.length > 0);
    });
  }

  /** Record what a person says about one of the model's tags. @param {Item} item @param {string} tag @param {'accept'|'reject'} verdict */
  judge(item, tag, verdict) {
    return this.#inTurn(async () => {
      const { image } = await call(`/images/${encodeURIComponent(item.image_id)}/feedback`, json('POST', { tag, verdict }));
      this.#tell([image]);
      this.#say(`Confirmed “${tag}”.`, this.#done.length > 0);
    });
  }

  /** Run edits one after the other, so that undo finds them in order. @param {() => Promise<void>} work */
  #inTurn(work) {
    this.#last = this.#last.then(work).catch((error) => this.#say(`Not saved: ${error.message}`, false));
    return this.#last;
  }

  /** @param {Item[]} items */
  #tell(items) {
    this.dispatchEvent(new CustomEvent('items', { detail: items }));
  }

  /** @param {string} text @param {boolean} undo */
  #say(text, undo) {
    clearTimeout(this.#fading);
    const dialog = document.querySelector('dialog.detail[open]');
    (dialog ?? document.body).append(this.#toast); // outside a modal dialog it could be neither seen nor pressed
    setText(byId('edited-text'), text);
    byId('edited-undo').hidden = !undo;
    this.#toast.hidden = false;
    this.#fading = setTimeout(() => (this.#toast.hidden = true), SHOWN_MS);
  }
}

/** @param {Item[]} items @returns {Map<string, string[]>} */
function byBatch(items) {
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  for (const { batch_id: batch, image_id: image } of items) {
    const group = groups.get(batch);
    if (group) group.push(image);
    else groups.set(batch, [image]);
  }
  return groups;
}
