// The page as an app: it opens while the server is away, and takes photos from the share menu.

/** @typedef {import('./dropping.js').Found} Found */

const SHARED = 'tagfleet-shared';

/** Register it after the page has loaded, so that the first load stays fast. */
export function offline() {
  if (!('serviceWorker' in navigator)) return; // a page without TLS has none
  const register = () => navigator.serviceWorker.register('/service-worker.js').catch(() => {});
  if (document.readyState === 'complete') register();
  else addEventListener('load', register);
}

/**
 * Take the photos that another app shared; the service worker stored them.
 * @param {(found: Found[]) => void} accept @param {(text: string) => void} failed
 */
export async function takeShared(accept, failed) {
  const how = new URLSearchParams(location.search).get('shared');
  if (!how || location.pathname !== '/') return;
  history.replaceState(null, '', '/');
  const found = how === 'yes' ? await laidDown() : [];
  if (found.length) accept(found);
  else failed('The shared photos did not arrive. Please share them again.');
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
