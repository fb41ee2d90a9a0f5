// Asking the REST API, and knowing whether the server is there.

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */

export const ROOT = '/api/v1';

/** What the server (or the way to it) said no with. `status` 0: no answer at all. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {number} [retryAfter] seconds the server asks to wait */
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** The same request may do better later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Nobody is there: not the service, or not the proxy's way to it. */
  get away() {
    return this.status === 0 || this.status === 502 || this.status === 504;
  }
}

/** @param {number} status @param {string} body @param {string|null} retryAfter */
export function problem(status, body, retryAfter) {
  let text = '';
  try {
    const found = JSON.parse(body);
    text = found.detail || found.title || '';
  } catch {
    text = ''; // a proxy's page of HTML says nothing to a person
  }
  return new ApiError(status, text || `The server answered ${status}.`, Number(retryAfter) || 0);
}

/**
 * @param {string} path below /api/v1 @param {RequestInit} [options] @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function call(path, options) {
  let response;
  try {
    response = await fetch(ROOT + path, { cache: 'no-store', ...options });
  } catch {
    lost();
    throw new ApiError(0, 'The server does not answer.');
  }
  if (response.ok) {
    found();
    return response.json();
  }
  const error = problem(response.status, await response.text(), response.headers.get('Retry-After'));
  if (error.away) lost();
  else found();
  throw error;
}

/** @param {Record<string, any>} metadata @param {string} key repeats of a call under one key make one batch @returns {Promise<Batch>} */
export const createBatch = (metadata, key) =>
  call('/batches', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
    body: JSON.stringify({ tagger: null, options: {}, metadata }),
  });

/** @param {string} id @returns {Promise<Batch>} */
export const closeBatch = (id) => call(`/batches/${encodeURIComponent(id)}/close`, { method: 'POST' });

/** @param {string} id @returns {Promise<Batch>} */
export const getBatch = (id) => call(`/batches/${encodeURIComponent(id)}`);

/** @param {string} [cursor] @returns {Promise<{batches: Batch[], next_cursor: string|null}>} */
export const listBatches = (cursor) => call(`/batches?limit=12${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);

/** @param {string} id @param {number} limit @param {string|null} [cursor] @returns {Promise<{results: Item[], next_cursor: string|null}>} */
export const results = (id, limit, cursor) =>
  call(`/batches/${encodeURIComponent(id)}/results?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);

/** @returns {Promise<{models: import('./types.js').Model[]}>} */
export const models = () => call('/models');

/** @returns {Promise<import('./types.js').Fleet>} */
export const fleet = () => call('/fleet');

/** @param {string} imageId */
export const thumbnail = (imageId) => `${ROOT}/images/${encodeURIComponent(imageId)}/thumbnail`;

/** 'away' and 'back' events; while away it asks for /healthz until somebody answers. */
export const connection = new (class extends EventTarget {
  away = false;

  /** Resolves after `seconds`, or as soon as the server is back. @param {number} seconds @returns {Promise<void>} */
  pause(seconds) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.removeEventListener('back', end);
        resolve();
      };
      const timer = setTimeout(end, seconds * 1000);
      this.addEventListener('back', end);
    });
  }
})();

const PROBE_MS = 1000;

export function lost() {
  if (connection.away) return;
  connection.away = true;
  connection.dispatchEvent(new Event('away'));
  setTimeout(probe, PROBE_MS);
}

export function found() {
  if (!connection.away) return;
  connection.away = false;
  connection.dispatchEvent(new Event('back'));
}

/** Is the server itself there? @returns {Promise<boolean>} */
export async function alive() {
  try {
    return (await fetch('/healthz', { cache: 'no-store' })).ok;
  } catch {
    return false;
  }
}

async function probe() {
  if (!connection.away) return;
  if (await alive()) found();
  else setTimeout(probe, PROBE_MS);
}
