// Format numbers and times for people.

const whole = new Intl.NumberFormat('en');
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** @param {number} n */
export const count = (n) => whole.format(n);

/** @param {number} n @param {string} noun @param {string} [many] */
export const plural = (n, noun, many = `${noun}s`) => `${count(n)} ${n === 1 ? noun : many}`;

/** Decimal units, as file managers show them. @param {number} n */
export function bytes(n) {
  if (n < 1000) return `${Math.round(n)} B`;
  for (const unit of ['kB', 'MB', 'GB']) {
    n /= 1000;
    if (n < 999.5 || unit === 'GB') return `${n < 9.95 ? n.toFixed(1) : Math.round(n)} ${unit}`;
  }
  return '';
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, '')} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 ? ` ${s % 60} s` : ''}`;
  const minutes = Math.floor((s % 3600) / 60);
  return `${Math.floor(s / 3600)} h${minutes ? ` ${minutes} min` : ''}`;
}

/** A coarse estimate: nobody believes the seconds of an ETA of ten minutes. @param {number} seconds */
export function about(seconds) {
  if (seconds < 1) return 'about a second';
  if (seconds < 60) return `about ${Math.round(seconds)} s`;
  if (seconds < 3600) return `about ${Math.round(seconds / 60)} min`;
  return `about ${duration(Math.round(seconds / 600) * 600)}`;
}

/** @param {number} perSecond */
export const rate = (perSecond) => (perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond)));

/** @param {number} confidence 0..1 */
export function percent(confidence) {
  if (confidence > 0.995 && confidence < 1) return '>99%';
  return confidence > 0 && confidence < 0.005 ? '<1%' : `${Math.round(confidence * 100)}%`;
}

/** @param {string} iso */
export const dateTime = (iso) => moment.format(new Date(iso));

/** Seconds between two ISO times. @param {string} from @param {string} to */
export const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;
