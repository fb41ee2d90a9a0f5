// Find out by hashes which files the server has, so that they are not uploaded again.

import { call, json } from './api.js';

/** @typedef {import('./entries.js').Entry} Entry */
/** @typedef {import('./types.js').Item} Item */

const AT_ONCE = 4;

/** Without TLS a browser has no hashes, and everything is uploaded. */
const canHash = () => Boolean(globalThis.crypto?.subtle);

/** @param {Blob} file @returns {Promise<string>} in hexadecimal @throws {DOMException} when it cannot be read */
export async function sha256(file) {
  const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer()); // off the page's own thread
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {Entry[]} entries @returns {Promise<Map<Entry, string>>} without unreadable files */
async function hashes(entries) {
  const found = new Map();
  const rest = entries.filter(({ file }) => file);
  const one = async () => {
    for (let entry = rest.shift(); entry; entry = rest.shift()) {
      try {
        found.set(entry, await sha256(/** @type {File} */ (entry.file)));
      } catch {
        // the upload reports that it cannot be read
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return found;
}

/**
 * Add the photos that the server has to the batch. If that fails, none is recognised and all are uploaded.
 * @param {string} batchId @param {Entry[]} entries @returns {Promise<Map<Entry, Item>>}
 */
export async function recognise(batchId, entries) {
  const found = new Map();
  if (!canHash()) return found;
  try {
    const digests = await hashes(entries);
    if (!digests.size) return found;
    const { known } = await call('/images/check', json('POST', { sha256: [...new Set(digests.values())] }));
    const here = [...digests].filter(([, sha]) => known[sha]);
    if (!here.length) return found;
    const images = here.map(([{ name }, sha]) => ({ name, sha256: sha }));
    const { images: added } = await call(`/batches/${encodeURIComponent(batchId)}/images/known`, json('POST', { images }));
    here.forEach(([entry], n) => added[n] && found.set(entry, added[n]));
  } catch {
    found.clear();
  }
  return found;
}
