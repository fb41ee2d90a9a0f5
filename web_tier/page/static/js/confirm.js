// Ask before an action that cannot be undone.

import { byId, setText } from './dom.js';

/** @param {{title: string, text: string, yes: string, no?: string}} question @returns {Promise<boolean>} */
export function confirmed({ title, text, yes, no = 'Cancel' }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  setText(byId('confirm-yes'), yes);
  setText(byId('confirm-no'), no);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

/** Connect its buttons. The Content-Security-Policy forbids a form that would do it. */
export function prepareConfirm() {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  byId('confirm-yes').addEventListener('click', () => dialog.close('yes'));
  byId('confirm-no').addEventListener('click', () => dialog.close(''));
}
