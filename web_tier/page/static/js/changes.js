// The list of workers that started or stopped, with who did it and why; the latest first.

import { byId, el, setText, sync } from './dom.js';
import { dateTime } from './format.js';
import { ago } from './pools.js';

/** @typedef {import('./types.js').Change} Change */

const SHOWN = 20;
/** @type {Record<Change['by'], string>} */
const BY = { controller: 'by the controller', operator: 'by an operator', owner: 'by the machine’s owner', itself: 'by itself' };

/** @param {Change} change */
function changeRow(change) {
  const when = new Date(change.at * 1000).toISOString();
  const machine = change.offering ? `, ${change.offering}` : '';
  return el(
    'li',
    { 'data-kind': change.kind },
    el('p', {}, el('strong', {}, change.kind.replaceAll('_', ' ')), ' ', change.worker_id, ' ', el('span', { class: 'muted' }, `${change.pool}${machine}, `, el('time', { datetime: when, title: dateTime(when) }))),
    el('p', { title: change.decision ?? '' }, `${BY[change.by]}: ${change.reason}`),
  );
}

/** @param {Change[]} changes oldest first @param {number} now */
export function drawChanges(changes, now) {
  const latest = changes.slice(-SHOWN).reverse();
  sync(byId('changes'), latest, ({ worker_id: id, kind }) => `${id} ${kind}`, changeRow, (row, { at }) => setText(/** @type {Element} */ (row.querySelector('time')), ago(now, at)));
  byId('changes-empty').hidden = latest.length > 0;
}
