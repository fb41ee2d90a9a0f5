// Joins the parts of the page.

import * as banners from './banners.js';
import { BatchView } from './batch.js';
import { isSystemFile, listen, measure } from './dropping.js';
import { FleetView } from './fleet.js';
import { plural } from './format.js';
import { HomeView } from './home.js';
import { route } from './router.js';
import { Session } from './session.js';

const batch = new BatchView();
const go = route({ home: new HomeView(), batch, fleet: new FleetView() });

/** @param {import('./dropping.js').Found[]} found */
async function accept(found) {
  const wanted = found.filter(({ name }) => !isSystemFile(name));
  if (!wanted.length) {
    banners.ended(found.length ? 'Only hidden system files were in there.' : 'There are no files in there.');
    return;
  }
  banners.gathering(`Starting with ${plural(wanted.length, 'file')}`);
  const files = await measure(wanted);
  if (batch.open) {
    banners.gathering('');
    batch.open.add(files);
    return;
  }
  try {
    const session = await Session.create(files, banners.gathering);
    batch.adopt(session);
    banners.gathering('');
    go(`/batches/${session.id}`);
  } catch (error) {
    banners.ended(`This could not be started: ${/** @type {Error} */ (error).message}`);
  }
}

listen(accept, banners.gathering, banners.ended);
banners.watch();
