// Looking again and again at what the server says, while a view is on show.

import { connection } from './api.js';

export class Watching {
  /** Counts the showings: a loop ends when its own is over. */ #showing = 0;
  on = false;

  /** @param {number} everyS seconds between two looks @param {() => Promise<void>} look may fail: the banner tells of a server that is away */
  constructor(everyS, look) {
    this.everyS = everyS;
    this.look = look;
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
