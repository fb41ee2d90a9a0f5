// Switch views by address within one document, so that uploads continue meanwhile.

import { byId } from './dom.js';

/**
 * @typedef {{show: (argument: string) => void|Promise<void>, hide: () => void}} View
 * @typedef {'home'|'batch'|'batches'|'fleet'|'keys'} ViewName
 */

/** @param {string} path @returns {[ViewName, string]} */
export function parse(path) {
  const batch = /^\/batches\/([^/]+)$/.exec(path);
  if (batch) return ['batch', decodeURIComponent(batch[1])];
  const name = path.slice(1);
  return [name === 'fleet' || name === 'batches' || name === 'keys' ? name : 'home', ''];
}

/** @param {Record<ViewName, View>} views shows the one of the current address @returns {(path: string) => Promise<void>} goes to a path as a link would */
export function route(views) {
  /** @type {View|null} */
  let current = null;
  const show = async () => {
    const [name, argument] = parse(location.pathname);
    current?.hide();
    for (const other of Object.keys(views)) byId(`view-${other}`).hidden = other !== name;
    for (const link of document.querySelectorAll('[data-view]')) {
      if (link.getAttribute('data-view') === name) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    current = views[name];
    await current.show(argument);
  };
  /** @param {string} path */
  const go = async (path) => {
    if (path !== location.pathname + location.search) history.pushState(null, '', path);
    scrollTo(0, 0);
    await show(); // focus works only once the view is drawn
    /** @type {HTMLElement|null} */ (document.querySelector('.view:not([hidden]) h1'))?.focus({ preventScroll: true });
  };
  addEventListener('popstate', show);
  document.addEventListener('click', (event) => {
    const link = /** @type {Element} */ (event.target).closest('a[data-route]');
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute('href') ?? '/');
  });
  show();
  return go;
}
