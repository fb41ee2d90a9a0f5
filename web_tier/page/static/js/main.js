// Connect the parts of the page.

import { Asking } from './asking.js';
import * as banners from './banners.js';
import { BatchView } from './batch.js';
import { prepareConfirm } from './confirm.js';
import { Detail } from './detail.js';
import { byId } from './dom.js';
import { isSystemFile, listen, measure } from './dropping.js';
import { Editor } from './editor.js';
import { plural } from './format.js';
import { HomeView } from './home.js';
import { Later } from './later.js';
import { offline, takeShared } from './offline.js';
import { route } from './router.js';
import { Session } from './session.js';
import { watchSignIn } from './signin.js';

const editor = new Editor();
const detail = new Detail(editor);
const asking = new Asking();
/** @param {string} path */
const visit = (path) => go(path);
const batch = new BatchView(detail, editor, visit);
const go = route({
  home: new HomeView(asking),
  batch,
  batches: new Later(byId('view-batches'), async () => new (await import('./batches.js')).BatchesView(detail, editor, visit)),
  fleet: new Later(byId('view-fleet'), async () => new (await import('./fleet.js')).FleetView()),
  keys: new Later(byId('view-keys'), async () => new (await import('./keys.js')).KeysView()),
});

/** @param {import('./dropping.js').Found[]} found */
async function accept(found) {
  const wanted = found.filter(({ name }) => !isSystemFile(name));
  if (!wanted.length) {
    banners.ended(found.length ? 'This folder has only hidden system files.' : 'This folder is empty.');
    return;
  }
  banners.gathering(`Uploading ${plural(wanted.length, 'file')}`);
  const files = await measure(wanted);
  if (batch.open) {
    banners.gathering('');
    batch.open.add(files);
    return;
  }
  try {
    const session = await Session.create(files, asking.wanted, banners.gathering);
    batch.adopt(session);
    banners.gathering('');
    go(`/batches/${session.id}`);
  } catch (error) {
    banners.ended(`The upload could not start: ${/** @type {Error} */ (error).message}`);
  }
}

listen(accept, banners.gathering, banners.ended);
banners.watch();
prepareConfirm();
watchSignIn();
offline();
takeShared(accept, banners.ended);
