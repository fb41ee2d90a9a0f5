// A view whose script is loaded when it is first gone to: the first load stays light. Until then nothing in it can be pressed.

/** @typedef {import('./router.js').View} View */

export class Later {
  /** @type {Promise<View>|null} */ #view = null;
  /** What is on show, or null. @type {string|null} */ #shown = null;

  /** @param {HTMLElement} section @param {() => Promise<View>} load */
  constructor(section, load) {
    this.section = section;
    this.load = load;
    section.inert = true;
  }

  /** @param {string} argument @returns {Promise<void>} once it can be used */
  async show(argument) {
    this.#shown = argument;
    this.#view ??= this.load();
    try {
      const view = await this.#view;
      this.section.inert = false;
      if (this.#shown === argument) view.show(argument);
    } catch (error) {
      this.#view = null; // the next visit tries again
      throw error;
    }
  }

  hide() {
    if (this.#shown === null) return;
    this.#shown = null;
    this.#view?.then((view) => view.hide(), () => {});
  }
}
