// The form for the limit of workers: an operator's number replaces the one from the settings.

import { call, json } from './api.js';
import { byId, say, setText } from './dom.js';

const MOST = 10000;

const field = () => /** @type {HTMLInputElement} */ (byId('cap'));

export class CapForm {
  /** The current limit, as the server last said. @type {number|undefined} */ #holds;

  /** @param {() => Promise<void>} changed */
  constructor(changed) {
    this.changed = changed;
    byId('cap-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId('cap-default').addEventListener('click', () => this.#set(null));
    field().addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#restore();
    });
  }

  /** Show the limit, but keep what somebody is typing. @param {{cap?: number, cap_source?: 'settings'|'operator'}} state */
  draw({ cap, cap_source: source }) {
    const touched = this.#holds !== undefined && field().value !== String(this.#holds);
    this.#holds = cap;
    if (!touched) field().value = String(cap ?? '');
    byId('cap-form').hidden = cap === undefined;
    byId('cap-default').hidden = source !== 'operator';
    setText(byId('cap-about'), source === 'operator' ? 'workers, set by an operator' : 'workers');
  }

  #restore() {
    field().value = String(this.#holds ?? '');
    this.#tell('');
  }

  async #submit() {
    const { value, validity } = field();
    if (!value || !validity.valid) {
      this.#tell(`Enter a whole number of workers from 0 (none) to ${MOST}.`);
      field().focus();
    } else await this.#set(Number(value));
  }

  /** @param {number|null} most */
  async #set(most) {
    try {
      const { cap } = await call('/fleet/cap', json('PUT', { max_workers: most }));
      this.#holds = cap;
      this.#restore();
    } catch (error) {
      this.#tell(/** @type {Error} */ (error).message);
    }
    await this.changed();
  }

  /** @param {string} trouble */
  #tell(trouble) {
    say(byId('cap-trouble'), trouble);
    field().setAttribute('aria-invalid', String(trouble !== ''));
  }
}
