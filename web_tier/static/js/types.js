// What the REST API speaks, for editors and type checkers; nothing here runs.

/** @typedef {{name: string, confidence: number|null, source: string}} Tag */
/**
 * @typedef {{image_id: string, batch_id: string, name: string, sha256: string, bytes: number,
 *   status: 'received'|'queued'|'succeeded'|'failed', error: string|null, caption: string|null, tags: Tag[],
 *   timings_ms: Record<string, number>|null, tagger: string|null, created_at: string, finished_at: string|null}} Item
 */
/**
 * @typedef {{id: string, status: 'open'|'queued'|'in_progress'|'completed', tagger: string,
 *   request_counts: {total: number, completed: number, failed: number}, workers: {ready: number, booting: number},
 *   rate: number|null, eta_s: number|null, created_at: string, closed_at: string|null, completed_at: string|null,
 *   metadata: Record<string, any>}} Batch
 */
/** @typedef {{pool: string, wanted: string, serves: string, state: 'preparing'|'ready'|'failed', notice: string}} Model */
/** @typedef {{process: number, imports: number, weights: number, first_inference: number, ready: number}} Boot */
/**
 * @typedef {{worker_id: string, pool: string, tagger: string, state: string, at: number, state_since: number,
 *   held: number, images_done: number, images_failed: number, rate: number, boot: Boot|null, engine: string,
 *   rss_bytes: number, notice: string}} Worker
 */
/** @typedef {{at: number, pool: string, action: string, reason: string, terms: Record<string, any>}} Decision */
/**
 * @typedef {{queues: Record<string, {visible: number, in_flight: number, delayed: number, dead: number, read_at: number}>,
 *   workers: Worker[], pools: Model[], decisions: Decision[]}} Fleet
 */

export {};
