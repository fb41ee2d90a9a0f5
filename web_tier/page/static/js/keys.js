// The view of keys: create and revoke them.

import { call, json } from './api.js';
import { confirmed } from './confirm.js';
import { byId, el, say, setText, sync } from './dom.js';
import { dateTime } from './format.js';
import { Looks } from './watching.js';

/** @typedef {import('./types.js').Key} Key */

const LABELS = ['Key', 'Allowed to', 'Created', 'Last used'];

export class KeysView {
  #looks = new Looks();

  constructor() {
    byId('key-make').addEventListener('click', () => this.#make());
  }

  show() {
    document.title = 'Keys – Tagfleet';
    byId('key-new').hidden = true;
    this.#look();
  }

  hide() {
    setText(byId('key-secret'), '');
  }

  async #look() {
    const isLast = this.#looks.begin();
    await this.#try(async () => {
      /** @type {{keys: Key[]}} */
      const { keys } = await call('/keys');
      if (!isLast()) return;
      sync(/** @type {Element} */ (byId('keys').querySelector('tbody')), keys, ({ id }) => id, (key) => this.#row(key), fill);
      byId('keys').hidden = !keys.length;
      byId('keys-empty').hidden = keys.length > 0;
    });
  }

  async #make() {
    const name = /** @type {HTMLInputElement} */ (byId('key-name'));
    const scopes = [.../** @type {NodeListOf<HTMLInputElement>} */ (byId('view-keys').querySelectorAll('[name=scope]:checked'))].map(({ value }) => value);
    await this.#try(async () => {
      const { key } = await call('/keys', json('POST', { name: name.value.trim(), scopes }));
      setText(byId('key-secret'), key);
      byId('key-new').hidden = false;
      name.value = '';
      await this.#look();
    });
  }

  /** @param {Key} key */
  #row({ id, name }) {
    const revoke = el('button', { type: 'button', class: 'small', 'aria-label': `Revoke ${name}` }, 'Revoke');
    revoke.addEventListener('click', async () => {
      const text = `Programs that use “${name}” are refused from now on, and browsers that signed in with it are signed out.`;
      if (!(await confirmed({ title: 'Revoke this key?', text, yes: 'Revoke' }))) return;
      await this.#try(() => call(`/keys/${encodeURIComponent(id)}`, { method: 'DELETE' }));
      await this.#look();
    });
    const cells = LABELS.map((label, n) => el(n ? 'td' : 'th', { 'data-label': label, ...(n ? {} : { scope: 'row' }) }));
    return el('tr', {}, ...cells, el('td', { class: 'row-actions' }, revoke));
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    say(byId('key-trouble'), '');
    try {
      await work();
    } catch (error) {
      say(byId('key-trouble'), /** @type {Error} */ (error).message);
    }
  }
}

/** @param {Element} row @param {Key} key */
function fill(row, key) {
  const used = key.revoked_at ? `revoked ${dateTime(key.revoked_at)}` : key.last_used_at ? dateTime(key.last_used_at) : 'never';
  [key.name, key.scopes.join(', '), dateTime(key.created_at), used].forEach((text, n) => setText(row.children[n], text));
  row.setAttribute('data-state', key.revoked_at ? 'drained' : 'idle');
  /** @type {HTMLElement} */ (row.lastElementChild?.firstElementChild).hidden = key.revoked_at !== null;
}
