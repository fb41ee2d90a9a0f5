// The page as an app: openable while the server is away, and a place to share photos with.

/** @typedef {import('./dropping.js').Found} Found */

const SHARED = 'tagfleet-shared';

/** Registered once the page has loaded, so that it takes nothing from the first load. */
export function offline() {
  if (!('serviceWorker' in navigator)) return; // a page without TLS has none
  const register = () => navigator.serviceWorker.register('/service-worker.js').catch(() => {});
  if (document.readyState === 'complete') register();
  else addEventListener('load', register);
}

/**
 * Photos that another app shared, which the service worker laid down.
 * @param {(found: Found[]) => void} accept @param {(text: string) => void} failed
 */
export async function takeShared(accept, failed) {
  const how = new URLSearchParams(location.search).get('shared');
  if (!how || location.pathname !== '/') return;
  history.replaceState(null, '', '/');
  const found = how === 'yes' ? await laidDown() : [];
  if (found.length) accept(found);
  else failed('What was shared did not arrive. Please share it once more.');
}

/** @returns {Promise<Found[]>} each only once */
async function laidDown() {
  const cache = await caches.open(SHARED);
  const found = [];
  for (const request of await cache.keys()) {
    const response = await cache.match(request);
    await cache.delete(request);
    if (!response) continue;
    const name = decodeURIComponent(response.headers.get('X-Name') ?? '') || 'Shared photo';
    found.push({ file: new File([await response.blob()], name, { type: response.headers.get('Content-Type') ?? '' }), name });
  }
  return found;
}
