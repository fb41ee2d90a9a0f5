// Describe a batch in words.

import { between, count, dateTime, duration, plural, rate } from './format.js';

/** @typedef {import('./types.js').Batch} Batch */

/** @param {Batch} batch */
export const titleOf = (batch) =>
  typeof batch.metadata?.title === 'string' && batch.metadata.title ? batch.metadata.title : `Batch of ${dateTime(batch.created_at)}`;

/** Whether the batch holds files that were dropped into a bucket. @param {string|undefined} id */
export const isDrop = (id) => id?.startsWith('drop_') ?? false;

/** The number of photos with tags; `completed` also counts failed and cancelled ones. @param {Batch['request_counts']} counts */
export const taggedOf = ({ completed, failed, cancelled }) => completed - failed - cancelled;

/** Describe a batch that is over: its result and its pace. @param {Batch} batch @returns {[string, string]} */
export function outcome({ status, request_counts: counts, created_at: from, completed_at: to }) {
  const { total, completed, failed } = counts;
  const tagged = taggedOf(counts);
  if (status === 'cancelled') return [`Cancelled: ${count(tagged)} of ${plural(total, 'photo')} tagged${failed ? `, ${count(failed)} failed` : ''}`, ''];
  if (!total) return ['No photos were uploaded to this batch.', ''];
  if (status === 'expired') return [`Closed because the upload was not finished: ${count(tagged)} of ${plural(total, 'photo')} tagged${failed ? `, ${count(failed)} failed` : ''}`, ''];
  const seconds = to ? between(from, to) : 0;
  const text = tagged ? `${plural(tagged, 'photo')} tagged` : `None of ${plural(total, 'photo')} could be tagged`;
  const pace = seconds > 0 ? `took ${duration(seconds)}${completed > 1 ? `, ${rate(completed / seconds)} images/s` : ''}` : '';
  return [failed && tagged ? `${text}, ${count(failed)} failed` : text, pace];
}
