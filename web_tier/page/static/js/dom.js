// Build and update the document; text is always text, never markup.

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** @param {string} id @returns {HTMLElement} */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Set the text, and touch the document only if it changed. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} bar @param {number} share 0..1 */
export function setShare(bar, share) {
  /** @type {HTMLElement} */ (bar).style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
}

/** Set a progress bar's value for assistive technology. @param {Element} bar @param {number} share 0..1 */
export function setValue(bar, share) {
  bar.setAttribute('aria-valuenow', String(Math.round(share * 100)));
}

/** Set a sentence, and hide its element while it is empty. @param {HTMLElement} node @param {string} text */
export function say(node, text) {
  setText(node, text);
  node.hidden = text === '';
}

/**
 * Return a function that runs `work` once, soon, however often it is called; also in a hidden tab.
 * @param {() => void} work @returns {() => void}
 */
export function soon(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    const run = () => {
      asked = false;
      work();
    };
    if (document.hidden) setTimeout(run, 200);
    else requestAnimationFrame(run);
  };
}

/**
 * Keep `parent`'s children in step with `rows`: one element per key, kept while its key stays.
 * @template T
 * @param {Element} parent @param {T[]} rows @param {(row: T) => string} key
 * @param {(row: T) => Element} make @param {(element: Element, row: T) => void} [update]
 */
export function sync(parent, rows, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.getAttribute('data-key'), child]));
  rows.forEach((row, position) => {
    const id = key(row);
    let child = old.get(id);
    old.delete(id);
    if (!child) {
      child = make(row);
      child.setAttribute('data-key', id);
    }
    update?.(child, row);
    if (parent.children[position] !== child) parent.insertBefore(child, parent.children[position] ?? null);
  });
  for (const child of old.values()) child.remove();
}
