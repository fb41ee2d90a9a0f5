// The actions of a whole batch: share, export, retry, cancel, delete.

import { ROOT, deleteBatch } from './api.js';
import { isDrop } from './batchtext.js';
import { confirmed } from './confirm.js';
import { byId, say, setText } from './dom.js';
import { isOver } from './events.js';
import { plural } from './format.js';

/** @typedef {import('./session.js').Session} Session */

const COPIED_MS = 2500;

export class BatchMenu {
  /** @type {Session|null} */ #session = null;

  /** @param {(path: string) => void} go @param {(session: Session) => void} deleted */
  constructor(go, deleted) {
    this.go = go;
    this.deleted = deleted;
    byId('batch-link').addEventListener('click', () => this.#copyLink());
    byId('batch-retry').addEventListener('click', () => this.retry());
    byId('batch-cancel').addEventListener('click', () => this.#cancel());
    byId('batch-delete').addEventListener('click', () => this.#delete());
    for (const menu of document.querySelectorAll('details.menu')) closeWhenLeft(/** @type {HTMLDetailsElement} */ (menu));
  }

  /** @param {Session} session */
  show(session) {
    this.#session = session;
    this.#trouble('');
    for (const link of byId('batch-export').querySelectorAll('a')) {
      link.href = `${ROOT}/batches/${encodeURIComponent(session.id)}/export?format=${link.dataset.format}`;
    }
  }

  /** @param {Session} session */
  draw({ batch, missing }) {
    byId('batch-actions').hidden = missing !== '';
    const failed = batch?.request_counts.failed ?? 0;
    byId('batch-retry').hidden = !failed;
    setText(byId('batch-retry'), `Retry ${plural(failed, 'failed photo')}`);
    byId('batch-cancel').hidden = !batch || isOver(batch) || isDrop(batch.id);
    byId('batch-export').hidden = !batch?.request_counts.completed;
  }

  /** @param {string[]} [imageIds] */
  retry(imageIds) {
    return this.#do((session) => session.retry(imageIds));
  }

  async #cancel() {
    const sure = await confirmed({ title: 'Cancel tagging?', text: 'Photos that have tags keep them. The others are not tagged.', yes: 'Cancel tagging', no: 'Keep tagging' });
    if (sure) await this.#do((session) => session.cancel());
  }

  async #delete() {
    const total = this.#session?.batch?.request_counts.total ?? 0;
    const stay = isDrop(this.#session?.id) ? 'The files stay in their bucket.' : 'The files on your own disk stay where they are.';
    const text = `${plural(total, 'photo')} with all tags, those given by hand too, are removed from the server for good. ${stay}`;
    if (!(await confirmed({ title: 'Delete this batch?', text, yes: 'Delete' }))) return;
    await this.#do(async (session) => {
      await deleteBatch(session.id);
      this.deleted(session);
      this.go('/');
    });
  }

  /** @param {(session: Session) => Promise<void>} work */
  async #do(work) {
    if (!this.#session) return;
    this.#trouble('');
    try {
      await work(this.#session);
    } catch (error) {
      this.#trouble(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} text */
  #trouble(text) {
    say(byId('batch-trouble'), text);
  }

  async #copyLink() {
    const button = byId('batch-link');
    try {
      await navigator.clipboard.writeText(location.href);
      setText(button, 'Link copied');
    } catch {
      setText(button, 'Copy it from the address bar'); // no clipboard without TLS
    }
    setTimeout(() => setText(button, 'Copy link'), COPIED_MS);
  }
}

/** Close it as menus do: by Escape or a click elsewhere. @param {HTMLDetailsElement} menu */
function closeWhenLeft(menu) {
  menu.addEventListener('focusout', (event) => {
    if (!menu.contains(/** @type {Node|null} */ (event.relatedTarget))) menu.open = false;
  });
  menu.addEventListener('click', (event) => {
    if (/** @type {Element} */ (event.target).closest('a')) menu.open = false;
  });
  menu.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !menu.open) return;
    menu.open = false;
    menu.querySelector('summary')?.focus();
  });
}
