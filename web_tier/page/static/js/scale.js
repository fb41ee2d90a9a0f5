// Scroll through a list that is higher than browsers allow an element to be.

/** Browsers allow 17 to 33 million, divided by the screen's pixels per px. */
export const MOST_PX = 8_000_000;
/** At both ends the list moves exactly as the document does, so that the ends can be reached. */
const EDGE_PX = 50_000;
/** A movement of more windows than this is a jump, as by the scroll bar. */
const JUMP = 1.5;

/**
 * The place in the list for a place in the document, both in px from the top of their elements.
 *
 * 1. A jump leads to the same share of the list as of the document.
 * 2. Small movements, as by a wheel or a finger, move the list by as much. So the two places drift apart.
 * 3. `settle`, after a rest, says by how much to scroll so that the document's place is the list's share again.
 */
export class Scale {
  #full = 0;
  /** The place in the list, less the place in the document. */ #shift = 0;
  #at = NaN;

  /** The height of the list's element. */
  get height() {
    return Math.min(this.#full, MOST_PX);
  }

  /** @param {number} full the list's height */
  resize(full) {
    this.#full = Math.max(0, full);
    if (this.#full <= MOST_PX) this.#shift = 0;
  }

  /** @param {number} document @returns {number} */
  toList(document) {
    return stretch(document, this.height, this.#full);
  }

  /** @param {number} list @returns {number} */
  toDocument(list) {
    return stretch(list, this.#full, this.height);
  }

  /** Follow the document to a place. @param {number} document @param {number} view the window's height @returns {number} the place in the list */
  follow(document, view) {
    const jumped = !(Math.abs(document - this.#at) <= JUMP * view);
    const atEnd = document <= 0 || document >= this.height - view;
    this.#at = document;
    if (jumped || atEnd) this.#shift = this.toList(document) - document;
    return document + this.#shift;
  }

  /** @returns {number} px to scroll by; the list's place stays */
  settle() {
    const list = this.#at + this.#shift;
    const by = Math.round(this.toDocument(list) - this.#at) || 0;
    this.#at += by;
    this.#shift -= by;
    return by;
  }
}

/** Scale a place from one height to another, except near the ends. @param {number} place @param {number} from @param {number} to */
function stretch(place, from, to) {
  if (from === to || place <= EDGE_PX) return place;
  if (place >= from - EDGE_PX) return to - (from - place);
  return EDGE_PX + ((place - EDGE_PX) * (to - 2 * EDGE_PX)) / (from - 2 * EDGE_PX);
}
