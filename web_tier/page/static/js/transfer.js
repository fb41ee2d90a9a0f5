// One multipart upload with its progress, which fetch cannot report.

import { ApiError, ROOT, found, problem } from './api.js';

/** @typedef {import('./types.js').Item} Item */

/**
 * @param {string} batchId @param {{file: File, name: string}[]} files @param {(sent: number) => void} progress bytes so far
 * @returns {Promise<Item[]>} in the order of `files`
 * @throws {ApiError}
 */
export function send(batchId, files, progress) {
  const form = new FormData();
  for (const { file, name } of files) form.append('files', file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `${ROOT}/batches/${encodeURIComponent(batchId)}/images`);
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onerror = () => reject(new ApiError(0, 'The connection broke.'));
    request.onload = () => {
      if (request.status !== 502 && request.status !== 504) found();
      if (request.status !== 201) {
        reject(problem(request.status, request.responseText, request.getResponseHeader('Retry-After')));
        return;
      }
      try {
        resolve(JSON.parse(request.responseText).images);
      } catch {
        reject(new ApiError(502, 'The upload’s answer was cut off.'));
      }
    };
    request.send(form);
  });
}
