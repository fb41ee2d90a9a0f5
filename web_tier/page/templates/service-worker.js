// Cache the page, so that it opens while the server is away, and store photos that are shared with it.
// Never cache the API.

const SHELL = 'tagfleet-shell';
const SHARED = 'tagfleet-shared';
const ASSETS = {{ assets | tojson }};

self.addEventListener('install', (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(['/', ...ASSETS])));
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { pathname, origin } = new URL(request.url);
  if (origin !== self.location.origin) return;
  if (request.method === 'POST' && pathname === '/share') event.respondWith(takeShared(request));
  if (request.method !== 'GET') return;
  if (request.mode === 'navigate' && !/^\/(api|docs|openapi)/.test(pathname)) event.respondWith(fresh(request, '/'));
  else if (pathname.startsWith('/assets/')) event.respondWith(fresh(request, pathname));
});

/** Fetch from the server; if it does not answer, return the cached copy. */
async function fresh(request, key) {
  const cache = await caches.open(SHELL);
  try {
    const response = await fetch(request);
    if (response.ok) cache.put(key, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(key);
    if (kept) return kept;
    throw error;
  }
}

/** Store shared photos for the page, which uploads them like dropped ones. */
async function takeShared(request) {
  const form = await request.formData();
  const cache = await caches.open(SHARED);
  const stamp = Date.now();
  const files = form.getAll('files').filter((file) => file instanceof File);
  await Promise.all(files.map((file, n) => {
    const headers = { 'Content-Type': file.type || 'application/octet-stream', 'X-Name': encodeURIComponent(file.name) };
    return cache.put(`/shared/${stamp}-${String(n).padStart(5, '0')}`, new Response(file, { headers }));
  }));
  return Response.redirect('/?shared=yes', 303);
}
