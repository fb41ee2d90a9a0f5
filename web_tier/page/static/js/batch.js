// The view of one batch: its progress, its filter, its photos.

import { connection } from './api.js';
import { BatchMenu } from './batchmenu.js';
import { outcome, titleOf } from './batchtext.js';
import { Card } from './card.js';
import { byId, say, setShare, setText, setValue, soon } from './dom.js';
import { isOver } from './events.js';
import { Filters } from './filters.js';
import { about, bytes, count, dateTime, plural, rate } from './format.js';
import { Grid } from './grid.js';
import { Listing } from './large.js';
import { Selecting } from './selecting.js';
import { Session } from './session.js';
import { Starting } from './starting.js';

/** @typedef {import('./types.js').Batch} Batch */

const ANNOUNCE_MS = 10_000;

export class BatchView {
  /** @type {Map<string, Session>} */ #sessions = new Map();
  /** @type {Session|null} */ #session = null;
  #announcedAt = 0;
  /** The photo to scroll to. */ #place = 0;
  #starting = new Starting();
  #redraw = soon(() => this.#draw());
  #filters = new Filters(this.#redraw);
  /** @type {number|undefined} */ #clock;

  /** @param {import('./detail.js').Detail} detail @param {import('./editor.js').Editor} editor @param {(path: string) => void} go */
  constructor(detail, editor, go) {
    this.detail = detail;
    this.selecting = new Selecting(
      editor,
      { visible: () => this.#visible(), wanted: () => this.#filters.wanted, large: () => this.#session?.large ?? null },
      this.#redraw,
    );
    this.menu = new BatchMenu(go, (session) => this.#forget(session));
    this.grid = new Grid(byId('results'), (entry) => new Card(entry, this.#actions), () => this.#remember());
    this.selecting.keyboard(this.grid, byId('view-batch'));
    byId('batch-again').addEventListener('click', () => this.#session?.uploader?.again());
    byId('batch-finish').addEventListener('click', () => this.#session?.close());
    addEventListener('beforeunload', (event) => {
      if ([...this.#sessions.values()].some((session) => session.uploading)) event.preventDefault();
    });
    connection.addEventListener('away', this.#redraw);
    editor.addEventListener('items', (event) => this.#session?.edited(/** @type {CustomEvent} */ (event).detail));
  }

  /** The actions of a card. @type {import('./card.js').Actions} */
  #actions = {
    open: (one) => this.detail.open(one, this.#visible()),
    again: (one) => (one.item ? this.menu.retry([one.item.image_id]) : this.#session?.uploader?.again([one])),
    choose: (one, range) => this.selecting.choose(one, range),
    chosen: (one) => this.selecting.chosen(one),
    atLeast: () => this.#filters.wanted.atLeast,
  };

  /** @param {Session} session made elsewhere, shown when its address is */
  adopt(session) {
    this.#sessions.set(session.id, session);
    session.start();
  }

  /** The shown batch, if it still takes photos. @returns {Session|null} */
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
    this.#place = history.state?.photo ?? 0;
    session.addEventListener('change', this.#redraw);
    this.#filters.reset();
    this.menu.show(session);
    this.#clock = setInterval(this.#redraw, 1000); // rates and estimates change without events
    this.#draw();
  }

  hide() {
    clearInterval(this.#clock);
    this.detail.close();
    this.selecting.clear();
    const session = this.#session;
    this.#session = null;
    this.grid.show([]);
    if (!session) return;
    session.large?.close();
    session.removeEventListener('change', this.#redraw);
    if (session.uploading) return; // it continues in the background
    session.stop();
    this.#sessions.delete(session.id);
  }

  /** Forget the session of a deleted batch. @param {Session} session */
  #forget(session) {
    session.uploader?.abandon();
    session.stop();
    this.#sessions.delete(session.id);
  }

  /** @returns {import('./grid.js').Listing} */
  #visible() {
    return this.#session?.entries.filter(this.#filters.wanted) ?? [];
  }

  /** Keep the place in a large batch for a reload: the browser restores it before the photos are there. */
  #remember() {
    if (this.#session?.large && history.state?.photo !== this.grid.first) history.replaceState({ ...history.state, photo: this.grid.first }, '');
  }

  /** Return to the place of before a reload. @param {Session} session @param {import('./grid.js').Listing} visible */
  #restore(session, visible) {
    if (!this.#place || !visible.length) return;
    if (session.large && this.#place < visible.length) this.grid.goTo(this.#place);
    this.#place = 0;
  }

  #draw() {
    const session = this.#session;
    if (!session) return;
    say(byId('batch-missing'), session.missing);
    byId('batch-body').hidden = session.missing !== '';
    this.menu.draw(session);
    if (session.missing) {
      setText(byId('batch-title'), 'Batch not found');
      setText(byId('batch-about'), session.id);
      return;
    }
    const counts = session.entries.counts();
    this.#drawHead(session.batch);
    this.#drawProgress(session, counts);
    this.#drawUpload(session);
    this.#drawOpen(session);
    this.#filters.draw(counts, session.entries);
    if (session.large) session.large.inUse = (imageId) => this.selecting.find(imageId);
    const visible = this.#visible();
    this.grid.show(visible);
    this.grid.refresh();
    this.#restore(session, visible);
    this.detail.refresh();
    this.selecting.draw();
    say(byId('results-empty'), emptyText(visible, counts.all));
  }

  /** @param {Batch|null} batch */
  #drawHead(batch) {
    if (!batch) return;
    setText(byId('batch-title'), titleOf(batch));
    setText(byId('batch-about'), `${dateTime(batch.created_at)} · ${batch.tagger}`);
  }

  /** @param {Session} session @param {ReturnType<import('./entries.js').Entries['counts']>} counts */
  #drawProgress({ batch, entries, uploader }, counts) {
    const server = batch?.request_counts ?? { total: 0, completed: 0, failed: 0, cancelled: 0 };
    const total = Math.max(server.total + counts.refused, counts.all);
    const failed = Math.max(server.failed + counts.refused, counts.failed);
    const cancelled = Math.max(server.cancelled, counts.cancelled);
    const done = Math.max(server.completed - server.cancelled + counts.refused, counts.tagged + counts.failed);
    const bar = byId('batch-bar');
    setShare(bar.children[0], total ? (done - failed) / total : 0);
    setShare(bar.children[1], total ? failed / total : 0);
    setValue(bar, total ? done / total : 0);
    const finished = batch !== null && isOver(batch);
    let line = total ? `${count(done - failed)} of ${plural(total, 'photo')} tagged${failed ? `, ${count(failed)} failed` : ''}` : '';
    const waiting = batch && !connection.away ? this.#starting.describe(batch, this.#redraw) : '';
    let pace = waiting || [batch?.rate ? `${rate(batch.rate)} images/s` : '', batch?.eta_s ? `${about(batch.eta_s)} left` : ''].filter(Boolean).join(', ');
    if (finished) {
      const asServer = { ...batch, request_counts: { total, completed: done + cancelled, failed, cancelled } };
      [line, pace] = outcome(asServer);
    }
    const known = (uploader?.recognised ?? 0) - entries.copies;
    if (known > 0) pace = [pace, `${plural(known, 'photo')} recognised, not uploaded again`].filter(Boolean).join(' · ');
    if (entries.copies) pace = [pace, `${plural(entries.copies, 'photo')} skipped: already in this batch`].filter(Boolean).join(' · ');
    setText(byId('batch-counts'), line || (batch ? 'No photos yet.' : ''));
    setText(byId('batch-pace'), pace);
    byId('batch-bar').classList.toggle('is-complete', finished);
    if (batch) document.title = `${finished || !total ? '' : `${done}/${total} · `}${titleOf(batch)} – Tagfleet`;
    this.#announce(waiting || line, finished);
  }

  /** Tell screen readers now and then, not for every photo. @param {string} line @param {boolean} finished */
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
      text = 'This batch is still open: its upload was interrupted or runs in another window. Drop the same photos here to continue (none is stored twice), or finish the batch.';
    }
    byId('batch-open').hidden = text === '';
    setText(byId('batch-open-text'), text);
    byId('batch-again').hidden = !stuck;
    byId('batch-finish').hidden = trouble !== '';
  }
}

/** What to say while no photo is shown, or no more can be. @param {import('./grid.js').Listing} visible @param {number} all */
function emptyText(visible, all) {
  if (visible instanceof Listing && visible.pages.trouble) return visible.pages.trouble;
  if (visible.length || !all) return '';
  return visible instanceof Listing && !visible.pages.ended ? 'Looking for photos.' : 'No photos match this filter.';
}
