// The types of the REST API's answers, for editors and type checkers; nothing here runs.
// Generated from openapi.json by `make types`: do not edit.

/**
 * @typedef {{id: string, status: 'open'|'queued'|'in_progress'|'completed'|'cancelled'|'expired', tagger: string,
 *   request_counts: {total: number, completed: number, failed: number, cancelled: number}, workers: {ready: number, booting: number},
 *   rate: number|null, eta_s: number|null, created_at: string, closed_at: string|null, completed_at: string|null,
 *   cancelled_at: string|null, expires_at: string|null, metadata: Record<string, any>,
 *   options: {top_k: number|null, min_confidence: number|null, cumulative: number|null, tasks: ('caption'|'detailed_caption'|'detect'|'regions'|'find')[]|null, candidates: string[]|null, max_tags: number|null, include: string[], exclude: string[]}}} Batch
 */
/**
 * @typedef {{process: number, imports: number, weights: number, first_inference: number, ready: number}} Boot
 */
/**
 * @typedef {{at: number,
 *   kind: 'launched'|'adopted'|'orphan'|'ready'|'boot_failed'|'asked_to_drain'|'interrupted'|'lost'|'drained'|'ended'|'gone',
 *   pool: string, worker_id: string, offering: string, by: 'controller'|'operator'|'owner'|'itself', controller: string, decision: string,
 *   reason: string}} Change
 */
/**
 * @typedef {{pool: string, batch_id: string, image_id: string, name: string, received: number, sent_at: number}} DeadLetter
 */
/**
 * @typedef {{id: string, at: number, pool: string, action: string, reason: string, terms: Record<string, any>}} Decision
 */
/**
 * @typedef {{queues: Record<string, {visible: number, in_flight: number, delayed: number, dead: number, read_at: number}>,
 *   workers: Worker[], stalled: ({part: 'worker'|'collector'|'controller', id: string, since_s: number, detail: string})[],
 *   pools: ({pool: string, wanted: string, serves: string, state: 'preparing'|'ready'|'failed', notice: string, offer: string, at: number})[],
 *   decisions: Decision[], paused: boolean, cap: number, cap_source: 'settings'|'operator'}} Fleet
 */
/**
 * @typedef {{samples: Sample[], decisions: Decision[], changes: Change[]}} History
 */
/**
 * @typedef {{box: [number, number, number, number], confidence: number|null}} Instance
 */
/**
 * @typedef {{image_id: string, batch_id: string, name: string, sha256: string, bytes: number,
 *   status: 'queued'|'succeeded'|'failed'|'cancelled', error: string|null, caption: string|null, tags: Tag[], edited: boolean,
 *   timings_ms: {queue: number, fetch: number, decode: number, infer: number}|null, tagger: string|null, created_at: string,
 *   finished_at: string|null, origin: string|null}} Item
 */
/**
 * @typedef {{id: string, name: string, scopes: ('read'|'write'|'operate')[], created_at: string, last_used_at: string|null,
 *   revoked_at: string|null}} Key
 */
/**
 * @typedef {{pool: string, wanted: string, serves: string, state: string, notice: string}} Model
 */
/**
 * @typedef {{reference: string, name: string, version: string, default: boolean, family: 'imagenet'|'multilabel', architecture: string,
 *   labels: number, bytes: number, metrics: Record<string, number>, trained_on: string, licence: string, card: string,
 *   created_at: string|null}} Registered
 */
/**
 * @typedef {{at: number, visible: number, in_flight: number, dead: number, workers: Record<string, number>, rate: number}} Sample
 */
/**
 * @typedef {{required: boolean, signed_in: boolean, scopes: ('read'|'write'|'operate')[]}} SignIn
 */
/**
 * @typedef {{name: string, confidence: number|null, source: 'model'|'person', instances: Instance[]}} Tag
 */
/**
 * @typedef {{worker_id: string, pool: string, tagger: string, state: 'starting'|'warming'|'idle'|'busy'|'draining'|'drained', seq: number,
 *   at: number, state_since: number, started_at: number, held: number, images_done: number, images_failed: number, busy_seconds: number,
 *   rate: number, boot: Boot|null, engine: string, rss_bytes: number, notice: string, ended_by: string, leaving: string, at_risk: string,
 *   managed: boolean|null, sizes: {batch: number, prefetch: number, receive: number, fetch: number, decode: number, finish: number}|null,
 *   log_lines_dropped: number}} Worker
 */

export {};
