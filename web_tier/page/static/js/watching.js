// Poll the server while a view is shown.

import { connection } from './api.js';

/** Of several polls under way only the last counts: the answer to an older one may arrive later, out of date. */
export class Looks {
  #begun = 0;

  /** Begin a poll. @returns {() => boolean} whether it is still the last */
  begin() {
    const number = (this.#begun += 1);
    return () => number === this.#begun;
  }
}

export class Watching {
  /** The number of times the view was shown: a loop ends with its own. */ #showing = 0;
  #looks = new Looks();
  on = false;

  /**
   * @param {number} everyS seconds between two polls
   * @param {(isLast: () => boolean) => Promise<void>} ask draws the answer if `isLast`; may fail: a banner says that the server is away
   */
  constructor(everyS, ask) {
    this.everyS = everyS;
    this.ask = ask;
  }

  /** Poll now, after a change. @returns {Promise<void>} */
  look() {
    return this.ask(this.#looks.begin());
  }

  async start() {
    const showing = ++this.#showing;
    this.on = true;
    while (this.on && showing === this.#showing) {
      await this.look().catch(() => {});
      await connection.pause(this.everyS);
    }
  }

  stop() {
    this.on = false;
  }
}
