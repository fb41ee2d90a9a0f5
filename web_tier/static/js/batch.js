// The view of one batch: its progress, its filter, its photos.

import { connection } from './api.js';
import { Card } from './card.js';
import { Detail } from './detail.js';
import { byId, el, say, setShare, setText, setValue, soon, sync } from './dom.js';
import { about, between, bytes, count, dateTime, duration, plural, rate } from './format.js';
import { Grid } from './grid.js';
import { Session } from './session.js';
import { Starting } from './starting.js';

/** @typedef {import('./types.js').Batch} Batch */

const ANNOUNCE_MS = 10_000;
const TOP_TAGS = 12;

/** @param {Batch} batch */
export const titleOf = (batch) =>
  typeof batch.metadata?.title === 'string' && batch.metadata.title ? batch.metadata.title : `Batch of ${dateTime(batch.created_at)}`;

/** What became of a completed batch. @param {Batch} batch @returns {[string, string]} */
export function outcome({ request_counts: { total, completed, failed }, created_at: from, completed_at: to }) {
  if (!total) return ['Nothing was uploaded into this batch.', ''];
  const tagged = completed - failed;
  const seconds = to ? between(from, to) : 0;
  const text = tagged ? `${plural(tagged, 'photo')} tagged` : `None of ${plural(total, 'photo')} could be tagged`;
  const pace = seconds > 0 ? `took ${duration(seconds)}${completed > 1 ? `, ${rate(completed / seconds)} images/s` : ''}` : '';
  return [failed && tagged ? `${text}, ${count(failed)} failed` : text, pace];
}

export class BatchView {
  /** @type {Map<string, Session>} */ #sessions = new Map();
  /** @type {Session|null} */ #session = null;
  #show = 'all';
  #announcedAt = 0;
  #starting = new Starting();
  #detail = new Detail();
  #redraw = soon(() => this.#draw());
  /** @type {number|undefined} */ #clock;
  #search = /** @type {HTMLInputElement} */ (byId('filter-text'));

  constructor() {
    this.grid = new Grid(
      byId('results'),
      (entry) =>
        new Card(entry, {
          open: (one) => this.#detail.open(one, this.#visible()),
          again: (one) => this.#session?.uploader?.again([one]),
        }),
    );
    this.#search.addEventListener('input', this.#redraw);
    for (const button of byId('filter-status').querySelectorAll('button')) {
      button.addEventListener('click', () => this.#filter(button.dataset.show ?? 'all'));
    }
    byId('batch-again').addEventListener('click', () => this.#session?.uploader?.again());
    byId('batch-finish').addEventListener('click', () => this.#session?.close());
    byId('batch-link').addEventListener('click', () => this.#copyLink());
    addEventListener('beforeunload', (event) => {
      if ([...this.#sessions.values()].some((session) => session.uploading)) event.preventDefault();
    });
    connection.addEventListener('away', this.#redraw);
  }

  /** @param {Session} session made elsewhere, shown when its address is */
  adopt(session) {
    this.#sessions.set(session.id, session);
    session.start();
  }

  /** The batch on show, where more photos can be dropped. @returns {Session|null} */
  get open() {
    return this.#session?.open ? this.#session : null;
  }

  /** @param {string} id */
  show(id) {
    let session = this.#sessions.get(id);
    if (!session) {
      session = new Session(id);
      this.adopt(session);
    }
    this.#session = session;
    session.addEventListener('change', this.#redraw);
    this.#search.value = '';
    this.#filter('all');
    this.#clock = setInterval(this.#redraw, 1000); // rates and estimates move without news
    this.#draw();
  }

  hide() {
    clearInterval(this.#clock);
    this.#detail.close();
    const session = this.#session;
    this.#session = null;
    this.grid.show([]);
    if (!session) return;
    session.removeEventListener('change', this.#redraw);
    if (session.uploading) return; // goes on in the background
    session.stop();
    this.#sessions.delete(session.id);
  }

  /** @param {string} show */
  #filter(show) {
    this.#show = show;
    for (const button of byId('filter-status').querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(button.dataset.show === show));
    }
    this.#redraw();
  }

  #visible() {
    return this.#session?.entries.filter(this.#show, this.#search.value) ?? [];
  }

  #draw() {
    const session = this.#session;
    if (!session) return;
    say(byId('batch-missing'), session.missing);
    byId('batch-body').hidden = session.missing !== '';
    byId('batch-link').hidden = session.missing !== '';
    if (session.missing) {
      setText(byId('batch-title'), 'No such batch');
      setText(byId('batch-about'), session.id);
      return;
    }
    const counts = session.entries.counts();
    this.#drawHead(session.batch);
    this.#drawProgress(session, counts);
    this.#drawUpload(session);
    this.#drawOpen(session);
    this.#drawFilter(counts, session);
    const visible = this.#visible();
    this.grid.show(visible);
    this.grid.refresh();
    this.#detail.refresh();
    say(byId('results-empty'), visible.length || !counts.all ? '' : 'No photo matches this filter.');
  }

  /** @param {Batch|null} batch */
  #drawHead(batch) {
    if (!batch) return;
    setText(byId('batch-title'), titleOf(batch));
    setText(byId('batch-about'), `${dateTime(batch.created_at)} · ${batch.tagger}`);
  }

  /** @param {Session} session @param {ReturnType<import('./entries.js').Entries['counts']>} counts */
  #drawProgress({ batch, entries }, counts) {
    const server = batch?.request_counts ?? { total: 0, completed: 0, failed: 0 };
    const total = Math.max(server.total + counts.refused, counts.all);
    const failed = Math.max(server.failed + counts.refused, counts.failed);
    const done = Math.max(server.completed + counts.refused, counts.tagged + counts.failed);
    const bar = byId('batch-bar');
    setShare(bar.children[0], total ? (done - failed) / total : 0);
    setShare(bar.children[1], total ? failed / total : 0);
    setValue(bar, total ? done / total : 0);
    const finished = batch?.status === 'completed';
    let line = total ? `${count(done - failed)} of ${plural(total, 'photo')} tagged${failed ? `, ${count(failed)} failed` : ''}` : '';
    const waiting = batch && !connection.away ? this.#starting.describe(batch, this.#redraw) : '';
    let pace = waiting || [batch?.rate ? `${rate(batch.rate)} images/s` : '', batch?.eta_s ? `${about(batch.eta_s)} left` : ''].filter(Boolean).join(', ');
    if (finished) {
      const asServer = { ...batch, request_counts: { total, completed: done, failed } };
      [line, pace] = outcome(asServer);
    }
    if (entries.copies) pace = [pace, `${plural(entries.copies, 'file')} left out: in the batch already`].filter(Boolean).join(' · ');
    setText(byId('batch-counts'), line || (batch ? 'Nothing here yet.' : ''));
    setText(byId('batch-pace'), pace);
    byId('batch-bar').classList.toggle('is-complete', finished);
    if (batch) document.title = `${finished || !total ? '' : `${done}/${total} · `}${titleOf(batch)} – Tagfleet`;
    this.#announce(waiting || line, finished);
  }

  /** Told to screen readers now and then, not for every photo. @param {string} line @param {boolean} finished */
  #announce(line, finished) {
    const now = performance.now();
    if (!finished && now - this.#announcedAt < ANNOUNCE_MS) return;
    this.#announcedAt = now;
    setText(byId('batch-announce'), line);
  }

  /** @param {Session} session */
  #drawUpload({ uploader }) {
    byId('upload-part').hidden = !uploader?.busy;
    if (!uploader?.busy) return;
    const { total, settled, sent } = uploader;
    const speed = uploader.rate(performance.now());
    const share = total.bytes ? sent / total.bytes : 0;
    setShare(byId('upload-bar').children[0], share);
    setValue(byId('upload-bar'), share);
    setText(byId('upload-counts'), `Uploading ${count(settled.files)} of ${count(total.files)}`);
    const left = speed ? `, ${about((total.bytes - sent) / speed)} left` : '';
    setText(byId('upload-pace'), speed ? `${bytes(speed)}/s${left}` : bytes(total.bytes));
  }

  /** @param {Session} session */
  #drawOpen({ batch, uploader, uploading, open, trouble }) {
    const stuck = uploader?.stuck.size ?? 0;
    let text = '';
    if (trouble) text = `The batch could not be finished: ${trouble}`;
    else if (open && stuck && !uploading) text = `${plural(stuck, 'file')} could not be uploaded.`;
    else if (open && batch && !uploader) {
      text = 'This batch is still open: its upload goes on elsewhere, or was interrupted. Drop the same photos here to go on (none is stored twice), or finish it.';
    }
    byId('batch-open').hidden = text === '';
    setText(byId('batch-open-text'), text);
    byId('batch-again').hidden = !stuck;
    byId('batch-finish').hidden = trouble !== '';
  }

  /** @param {ReturnType<import('./entries.js').Entries['counts']>} counts @param {Session} session */
  #drawFilter(counts, session) {
    for (const button of byId('filter-status').querySelectorAll('button')) {
      const of = /** @type {'all'|'tagged'|'failed'|'waiting'} */ (button.dataset.show);
      setText(/** @type {Element} */ (button.querySelector('.count')), count(counts[of]));
    }
    sync(
      byId('top-tags'),
      session.entries.topTags(TOP_TAGS),
      ([name]) => name,
      ([name]) => {
        const chip = el('button', { type: 'button', class: 'chip' }, el('span', {}, name), ' ', el('span', { class: 'count' }));
        chip.addEventListener('click', () => {
          this.#search.value = this.#search.value === name ? '' : name;
          this.#redraw();
        });
        return chip;
      },
      (chip, [name, n]) => {
        setText(chip.children[1], count(n));
        chip.setAttribute('aria-pressed', String(this.#search.value === name));
      },
    );
  }

  async #copyLink() {
    const button = byId('batch-link');
    try {
      await navigator.clipboard.writeText(location.href);
      setText(button, 'Link copied');
    } catch {
      setText(button, 'Copy it from the address bar'); // no clipboard without TLS
    }
    setTimeout(() => setText(button, 'Copy link'), 2500);
  }
}
