// Sign in with a key, if the server asks for one.

import { call, connection, json } from './api.js';
import { byId, say } from './dom.js';

/** @typedef {import('./types.js').SignIn} SignIn */

const dialog = /** @type {HTMLDialogElement} */ (byId('sign-in'));
const field = /** @type {HTMLInputElement} */ (byId('sign-in-key'));

async function signIn() {
  const key = field.value.trim();
  if (!key) return;
  try {
    await call('/session', json('POST', { key }));
  } catch (error) {
    say(byId('sign-in-trouble'), /** @type {Error} */ (error).message);
    field.select();
    return;
  }
  field.value = '';
  dialog.close();
  connection.dispatchEvent(new Event('unlocked'));
  connection.dispatchEvent(new Event('back')); // waiting requests try again
  show();
}

async function signOut() {
  await call('/session', { method: 'DELETE' });
  location.assign('/'); // leave nothing of what was shown
}

/** Show the parts of the page for people who signed in. */
async function show() {
  try {
    /** @type {SignIn} */
    const { required, signed_in: signedIn, scopes } = await call('/session');
    byId('sign-out').hidden = !(required && signedIn);
    byId('nav-keys').hidden = !(required && scopes.includes('operate'));
  } catch {
    // asked again at the next sign-in
  }
}

export function watchSignIn() {
  byId('sign-in-go').addEventListener('click', signIn);
  byId('sign-out').addEventListener('click', signOut);
  field.addEventListener('keydown', (event) => event.key === 'Enter' && signIn());
  dialog.addEventListener('cancel', (event) => event.preventDefault()); // there is nothing to go back to
  connection.addEventListener('locked', () => {
    say(byId('sign-in-trouble'), '');
    if (!dialog.open) dialog.showModal();
  });
  show();
}
