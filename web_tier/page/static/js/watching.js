// Looking again and again at what the server says, while a view is on show.

import { connection } from './api.js';

/** Of several looks under way only the last one counts: an answer to an older one may come after it, and is out of date. */
export class Looks {
  #begun = 0;

  /** Begins one. @returns {() => boolean} whether it is still the last */
  begin() {
    const number = (this.#begun += 1);
    return () => number === this.#begun;
  }
}

export class Watching {
  /** Counts the showings: a loop ends when its own is over. */ #showing = 0;
  #looks = new Looks();
  on = false;

  /**
   * @param {number} everyS seconds between two looks
   * @param {(isLast: () => boolean) => Promise<void>} ask draws what it hears while it `isLast`; may fail: the banner tells of a server that is away
   */
  constructor(everyS, ask) {
    this.everyS = everyS;
    this.ask = ask;
  }

  /** Looks at once, as after a change. @returns {Promise<void>} */
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
