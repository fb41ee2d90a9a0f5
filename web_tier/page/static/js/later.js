// Load a view's script at its first visit, to keep the first load light. Until then its buttons are disabled.

/** @typedef {import('./router.js').View} View */

export class Later {
  /** @type {Promise<View>|null} */ #view = null;
  /** The argument of the shown view, or null. @type {string|null} */ #shown = null;

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
