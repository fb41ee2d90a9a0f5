// Call the REST API, and track whether the server answers.

/** @typedef {import('./types.js').Batch} Batch */
/** @typedef {import('./types.js').Item} Item */

export const ROOT = '/api/v1';

/** A refusal by the server or by a proxy before it. `status` is 0 if there was no answer. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {number} [retryAfter] seconds the server asks to wait */
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Whether the service is unreachable, directly or through its proxy. */
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
    text = ''; // an HTML page of a proxy helps nobody
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
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    lost();
    throw new ApiError(0, 'The server does not answer.');
  }
  if (response.ok) {
    found();
    return response.status === 204 ? null : response.json();
  }
  if (response.status === 401 && !path.startsWith('/session')) {
    found();
    await signedIn();
    return call(path, options);
  }
  const error = problem(response.status, await response.text(), response.headers.get('Retry-After'));
  if (error.away) lost();
  else found();
  throw error;
}

/** @param {string} method @param {unknown} [body] @returns {RequestInit} */
export const json = (method, body = {}) => ({ method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

/** @param {Record<string, string|number|null|undefined>} values those without one are left out */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : '';
}

/**
 * @param {import('./asking.js').Wanted} wanted @param {Record<string, any>} metadata
 * @param {string} key calls with the same key create one batch @returns {Promise<Batch>}
 */
export const createBatch = (wanted, metadata, key) =>
  call('/batches', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
    body: JSON.stringify({ ...wanted, metadata }),
  });

/** @param {string} id @returns {Promise<Batch>} */
export const closeBatch = (id) => call(`/batches/${encodeURIComponent(id)}/close`, { method: 'POST' });

/** @param {string} id @returns {Promise<Batch>} */
export const getBatch = (id) => call(`/batches/${encodeURIComponent(id)}`);

/** @param {string} id @returns {Promise<Batch>} */
export const cancelBatch = (id) => call(`/batches/${encodeURIComponent(id)}/cancel`, { method: 'POST' });

/** @param {string} id @param {string[]} [imageIds] @returns {Promise<{retried: number, batch: Batch}>} */
export const retryBatch = (id, imageIds) => call(`/batches/${encodeURIComponent(id)}/retry`, json('POST', imageIds ? { image_ids: imageIds } : {}));

/** Delete a batch with all its photos. @param {string} id @returns {Promise<null>} */
export const deleteBatch = (id) => call(`/batches/${encodeURIComponent(id)}`, { method: 'DELETE' });

/** @param {string|null} [cursor] @param {number} [limit] @returns {Promise<{batches: Batch[], next_cursor: string|null}>} */
export const listBatches = (cursor, limit = 12) => call(`/batches${query({ limit, cursor })}`);

/**
 * @param {string} id @param {Record<string, string|number|null>} wanted `limit`, `cursor` and filters
 * @param {AbortSignal} [signal] @returns {Promise<{results: Item[], next_cursor: string|null}>}
 */
export const results = (id, wanted, signal) => call(`/batches/${encodeURIComponent(id)}/results${query(wanted)}`, { signal });

/** @returns {Promise<{models: import('./types.js').Model[]}>} */
export const models = () => call('/models');

/** @returns {Promise<import('./types.js').Fleet>} */
export const fleet = () => call('/fleet');

/** @param {string} imageId */
export const thumbnail = (imageId) => `${ROOT}/images/${encodeURIComponent(imageId)}/thumbnail`;

/** Fires 'away' and 'back'; while away, it polls /healthz. 'locked' asks for a key, 'unlocked' ends that. */
export const connection = new (class extends EventTarget {
  away = false;

  /** Resolve after `seconds`, or as soon as the server is back. @param {number} seconds @returns {Promise<void>} */
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

/** Wait until somebody has signed in. @returns {Promise<void>} */
export function signedIn() {
  return new Promise((resolve) => {
    connection.addEventListener('unlocked', () => resolve(), { once: true });
    connection.dispatchEvent(new Event('locked'));
  });
}

/** Return whether the server itself answers. @returns {Promise<boolean>} */
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
