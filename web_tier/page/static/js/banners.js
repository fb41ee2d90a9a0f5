// Banners over every view: the server is away, or a pool has a notice.

import { connection, models } from './api.js';
import { byId, el, say, setText, sync } from './dom.js';

/** @typedef {import('./types.js').Model} Model */
/** @typedef {{key: string, kind: 'warn'|'bad'|'info', text: string}} Banner */

const PREPARING_MS = 1000;
const CALM_MS = 30_000;
const ENDED_MS = 12_000;

/** @param {Model[]} pools @returns {Banner[]} */
function bannersOf(pools) {
  /** @type {Banner[]} */
  const banners = [];
  for (const { pool, state, notice } of pools) {
    if (state === 'preparing') {
      const text = 'Preparing the tagger. The first time takes about 20 seconds. Photos you drop now are tagged as soon as it is ready.';
      banners.push({ key: `${pool} preparing`, kind: 'info', text });
    }
    if (notice) banners.push({ key: pool, kind: state === 'failed' ? 'bad' : 'warn', text: notice });
  }
  return banners;
}

/** Watch the server and its pools while the page is open. */
export function watch() {
  /** @type {Banner[]} */
  let fromPools = [];
  const draw = () => {
    const away = { key: 'away', kind: /** @type {const} */ ('bad'), text: `Tagfleet does not answer at ${location.host}. Trying again. Everything you uploaded is safe.` };
    sync(
      byId('banners'),
      connection.away ? [away, ...fromPools] : fromPools,
      (banner) => banner.key,
      () => el('p'),
      (element, banner) => {
        element.className = `banner banner-${banner.kind}`;
        setText(element, banner.text);
      },
    );
  };
  const ask = async () => {
    let calm = true;
    try {
      const { models: pools } = await models();
      fromPools = bannersOf(pools);
      calm = !pools.some(({ state }) => state === 'preparing');
    } catch {
      calm = !connection.away;
    }
    draw();
    await connection.pause((calm ? CALM_MS : PREPARING_MS) / 1000);
    ask();
  };
  connection.addEventListener('away', draw);
  connection.addEventListener('back', draw);
  ask();
}

/** @type {number|undefined} */
let fading;

/** Show a sentence about what happens before a batch exists. @param {string} text */
export function gathering(text) {
  clearTimeout(fading);
  say(byId('gathering'), text);
}

/** Show the last sentence of it. @param {string} text */
export function ended(text) {
  gathering(text);
  fading = setTimeout(() => gathering(''), ENDED_MS);
}
