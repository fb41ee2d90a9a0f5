// A view whose script is loaded when it is first gone to: the first load stays light.

/** @typedef {import('./router.js').View} View */

export class Later {
  /** @type {Promise<View>|null} */ #view = null;
  /** What is on show, or null. @type {string|null} */ #shown = null;

  /** @param {() => Promise<View>} load */
  constructor(load) {
    this.load = load;
  }

  /** @param {string} argument */
  async show(argument) {
    this.#shown = argument;
    this.#view ??= this.load();
    try {
      const view = await this.#view;
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
