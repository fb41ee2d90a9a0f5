// Take photos in: dropped files and folders, file choosers, a phone's camera, paste.

import { byId } from './dom.js';

/** @typedef {{file: File, name: string}} Found a file and its name, folders included ("holiday/b.jpg") */
/** @typedef {Found & {bytes: number}} Measured */

const SLICE_MS = 12;
const SYSTEM = /^(\..*|thumbs\.db|desktop\.ini|__macosx)$/i;

/** Whether it is a file that an operating system leaves in folders. @param {string} name */
export const isSystemFile = (name) => name.split('/').some((part) => SYSTEM.test(part));

/**
 * Return all files of a drop. Call it within the drop event: its items are gone afterwards.
 * @param {DataTransfer} transfer @param {(found: number) => void} progress @returns {Promise<Found[]>}
 */
export async function filesOf(transfer, progress) {
  /** @type {FileSystemEntry[]} */
  const entries = [];
  /** @type {Found[]} */
  const files = [];
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue;
    const entry = item.webkitGetAsEntry?.();
    const file = entry ? null : item.getAsFile();
    if (entry) entries.push(entry);
    else if (file) files.push({ file, name: file.name });
  }
  for (const entry of entries) await walk(entry, files, progress);
  return files;
}

/** @param {FileSystemEntry} entry @param {Found[]} files @param {(found: number) => void} progress */
async function walk(entry, files, progress) {
  const name = entry.fullPath.replace(/^\//, '');
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) =>
      /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject),
    ).catch(() => new File([], entry.name)); // unreadable: upload it empty, so that its card shows the server's error
    files.push({ file, name });
    progress(files.length);
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // 100 at a time, [] at the end
    if (!some.length) return;
    for (const child of some) await walk(child, files, progress);
  }
}

/**
 * Read each file's size ahead: the browser asks the disk for it, which would block the page later.
 * @param {Found[]} found @returns {Promise<Measured[]>}
 */
export async function measure(found) {
  const measured = [];
  let pauseAt = performance.now() + SLICE_MS;
  for (const { file, name } of found) {
    measured.push({ file, name, bytes: file.size });
    if (performance.now() < pauseAt) continue;
    await new Promise((resolve) => setTimeout(resolve));
    pauseAt = performance.now() + SLICE_MS;
  }
  return measured;
}

/** @param {FileList|File[]} list @returns {Found[]} */
const listed = (list) => [...list].map((file) => ({ file, name: file.webkitRelativePath || file.name }));

/** Name a pasted image, which has no name of its own. @param {File} file @param {Date} now */
function pastedName(file, now) {
  if (file.name && file.name !== 'image.png') return file.name;
  const stamp = now.toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.');
  return `Pasted ${stamp}.${file.type.split('/')[1] || 'png'}`;
}

/**
 * Call `accept` with the files, and `gathering` while a dropped folder is read.
 * @param {(found: Found[]) => void} accept @param {(text: string) => void} gathering
 * @param {(text: string) => void} failed
 */
export function listen(accept, gathering, failed) {
  const veil = byId('drop-veil');
  let depth = 0;
  /** @param {DragEvent} event */
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  const lower = () => {
    depth = 0;
    veil.hidden = true;
  };
  addEventListener('dragenter', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth += 1;
    veil.hidden = false;
  });
  addEventListener('dragleave', (event) => {
    if (carriesFiles(event) && --depth <= 0) lower();
  });
  addEventListener('dragover', (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener('drop', async (event) => {
    if (!carriesFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    lower();
    try {
      accept(await filesOf(event.dataTransfer, (n) => gathering(`Reading the folder: ${n} files so far`)));
    } catch {
      failed('This folder could not be read. Use “Choose a folder” instead.');
    }
  });
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) accept(files.map((file) => ({ file, name: pastedName(file, new Date()) })));
  });
  for (const kind of ['files', 'folder', 'camera']) {
    const input = /** @type {HTMLInputElement} */ (byId(`choose-${kind}`));
    input.addEventListener('change', () => {
      const found = listed(input.files ?? []);
      input.value = ''; // so that the same files can be chosen again
      if (found.length) accept(found);
    });
    for (const button of document.querySelectorAll(`[data-choose="${kind}"]`)) button.addEventListener('click', () => input.click());
  }
}
