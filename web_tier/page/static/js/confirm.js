// Asking before something that cannot be taken back.

import { byId, setText } from './dom.js';

/** @param {{title: string, text: string, yes: string}} question @returns {Promise<boolean>} */
export function confirmed({ title, text, yes }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  setText(byId('confirm-yes'), yes);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

/** Its buttons; the Content-Security-Policy lets no form do this. */
export function prepareConfirm() {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  byId('confirm-yes').addEventListener('click', () => dialog.close('yes'));
  byId('confirm-no').addEventListener('click', () => dialog.close(''));
}
