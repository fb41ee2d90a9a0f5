// One shown tag: its name, its confidence, and whether a person gave it.

import { el, setShare } from './dom.js';
import { percent } from './format.js';

/** @typedef {import('./types.js').Tag} Tag */

/** @param {Tag} tag @returns {HTMLElement} a row whose background is the bar */
export function tagRow(tag) {
  const row = el('li', { class: 'tag', title: tag.name }, el('span', { class: 'tag-name' }, tag.name));
  if (tag.source === 'person') {
    row.append(' ', el('span', { class: 'tag-number', title: 'Added or confirmed by a person' }, 'by hand'));
  } else if (tag.confidence !== null) {
    const bar = el('span', { class: 'tag-bar', 'aria-hidden': 'true' });
    setShare(bar, tag.confidence);
    row.prepend(bar);
    row.append(' ', el('span', { class: 'tag-number' }, percent(tag.confidence)));
  }
  return row;
}

/**
 * A row with buttons to confirm, correct and remove. Enter or F2 on the name corrects it, Delete removes it.
 * @param {Tag} tag
 * @param {{correct: (to: string) => void, remove: () => void, accept: () => void, look: (on: boolean) => void}} actions
 */
export function editableRow(tag, actions) {
  const row = tagRow(tag);
  const name = el('button', { type: 'button', class: 'tag-name', title: 'Correct this tag', 'aria-label': `${tag.name}: correct` }, tag.name);
  row.querySelector('.tag-name')?.replaceWith(name);
  const remove = el('button', { type: 'button', class: 'tag-action', title: 'Remove this tag', 'aria-label': `Remove ${tag.name}` }, '×');
  const buttons = el('span', { class: 'tag-actions' }, remove);
  if (tag.source === 'model') {
    const accept = el('button', { type: 'button', class: 'tag-action', title: 'Confirm: this is right', 'aria-label': `Confirm ${tag.name}` }, '✓');
    accept.addEventListener('click', actions.accept);
    buttons.prepend(accept);
  }
  row.append(buttons);
  remove.addEventListener('click', actions.remove);
  name.addEventListener('click', () => correct(row, name, tag, actions.correct));
  row.addEventListener('keydown', (event) => {
    if (event.target === name && (event.key === 'Delete' || event.key === 'Backspace')) actions.remove();
    if (event.target === name && event.key === 'F2') name.click();
  });
  row.addEventListener('pointerenter', () => actions.look(true));
  row.addEventListener('pointerleave', () => actions.look(false));
  row.addEventListener('focusin', () => actions.look(true));
  row.addEventListener('focusout', () => actions.look(false));
  return row;
}

/** Replace the name by a field. @param {HTMLElement} row @param {HTMLElement} name @param {Tag} tag @param {(to: string) => void} done */
function correct(row, name, tag, done) {
  const field = /** @type {HTMLInputElement} */ (el('input', { class: 'tag-field', 'aria-label': `Correct ${tag.name}`, maxlength: '100', autocomplete: 'off', spellcheck: 'false' }));
  field.value = tag.name;
  let ended = false;
  /** @param {boolean} keep */
  const end = (keep) => {
    if (ended) return;
    ended = true;
    const to = field.value.trim();
    field.replaceWith(name);
    if (keep && to && to !== tag.name) done(to);
    else if (keep) name.focus();
  };
  field.addEventListener('keydown', (event) => {
    event.stopPropagation(); // arrows move in the text, not to the next photo
    if (event.key === 'Enter') end(true);
    if (event.key !== 'Escape') return;
    event.preventDefault(); // close only the field, not the dialog around it
    end(false);
    name.focus();
  });
  field.addEventListener('blur', () => end(false));
  name.replaceWith(field);
  field.select();
}

/** Update rows only where tags changed, so that the focus stays. @param {HTMLElement} list @param {Tag[]} tags @param {(tag: Tag) => Element} make */
export function showTags(list, tags, make) {
  const now = JSON.stringify(tags);
  if (list.dataset.tags === now) return;
  list.dataset.tags = now;
  const at = [...list.children].findIndex((row) => row.contains(document.activeElement));
  list.replaceChildren(...tags.map(make));
  const next = list.children[Math.min(at, tags.length - 1)];
  if (at >= 0) /** @type {HTMLElement|null} */ (next?.querySelector('.tag-name'))?.focus();
}
