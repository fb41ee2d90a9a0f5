// What the REST API speaks, for editors and type checkers; nothing here runs.

/** @typedef {{box: [number, number, number, number], confidence: number|null}} Instance x, y, width, height, each 0..1 of the image */
/** @typedef {{name: string, confidence: number|null, source: string, instances?: Instance[]}} Tag */
/**
 * @typedef {{image_id: string, batch_id: string, name: string, sha256: string, bytes: number,
 *   status: 'received'|'queued'|'processing'|'succeeded'|'failed'|'cancelled', error: string|null, caption: string|null, tags: Tag[],
 *   timings_ms: Record<string, number>|null, tagger: string|null, created_at: string, finished_at: string|null, origin?: string|null}} Item
 */
/**
 * @typedef {{id: string, status: 'open'|'queued'|'in_progress'|'completed'|'cancelling'|'cancelled'|'expired', tagger: string,
 *   request_counts: {total: number, completed: number, failed: number, cancelled: number}, workers: {ready: number, booting: number},
 *   rate: number|null, eta_s: number|null, created_at: string, closed_at: string|null, completed_at: string|null,
 *   metadata: Record<string, any>}} Batch
 */
/** @typedef {{pool: string, wanted: string, serves: string, state: 'preparing'|'ready'|'failed', notice: string}} Model */
/**
 * @typedef {{reference: string, name: string, version: string, default: boolean, family: 'imagenet'|'multilabel',
 *   architecture: string, labels: number, bytes: number, metrics: Record<string, number>, trained_on: string, licence: string,
 *   card: string, created_at: string|null}} Registered
 */
/** @typedef {{process: number, imports: number, weights: number, first_inference: number, ready: number}} Boot */
/**
 * @typedef {{worker_id: string, pool: string, tagger: string, state: string, at: number, state_since: number,
 *   held: number, images_done: number, images_failed: number, rate: number, boot: Boot|null, engine: string,
 *   rss_bytes: number, notice: string, managed?: boolean|null}} Worker
 */
/** @typedef {{at: number, pool: string, action: string, reason: string, terms: Record<string, any>}} Decision */
/**
 * @typedef {{queues: Record<string, {visible: number, in_flight: number, delayed: number, dead: number, read_at: number}>,
 *   workers: Worker[], stalled?: {part: string, id: string, since_s: number, detail: string}[], pools: Model[],
 *   decisions: Decision[], paused?: boolean, cap?: number, cap_source?: 'settings'|'operator'}} Fleet
 */
/**
 * @typedef {{at: number, visible: number, in_flight: number, dead: number, workers: Record<string, number>, rate: number}} Sample
 * @typedef {{at: number, kind: string, pool: string, worker_id: string, offering?: string, by: 'controller'|'operator'|'owner'|'itself',
 *   decision?: string, reason: string}} Change
 * @typedef {{samples: Sample[], decisions: Decision[], changes?: Change[]}} History
 */
/** @typedef {{pool: string, batch_id: string, image_id: string, name: string, received: number, sent_at: number|null}} DeadLetter */
/** @typedef {{required: boolean, signed_in: boolean, scopes: string[]}} SignIn */
/**
 * @typedef {{id: string, name: string, scopes: string[], created_at: string, last_used_at: string|null,
 *   revoked_at: string|null}} Key
 */

export {};
