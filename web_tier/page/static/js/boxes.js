// Draw boxes over a picture, where the tagger located things.

/** @typedef {import('./types.js').Tag} Tag */

const SVG = 'http://www.w3.org/2000/svg';
const COLOURS = 6;

/** @param {string} name @param {Record<string, string|number>} attributes */
function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

/**
 * Draw in the picture's own pixels, in an SVG that covers the picture exactly.
 * @param {HTMLElement} place around the picture @param {HTMLImageElement} image @param {Tag[]} tags
 * @param {'meet'|'slice'} fit as the picture's object-fit: contain or cover @param {boolean} named write each name
 */
export function drawBoxes(place, image, tags, fit, named) {
  place.querySelector('svg')?.remove();
  const boxed = tags.filter(({ instances }) => instances?.length);
  if (!boxed.length) return;
  if (!image.naturalWidth) {
    image.addEventListener('load', () => drawBoxes(place, image, tags, fit, named), { once: true });
    return;
  }
  const { naturalWidth: width, naturalHeight: height } = image;
  const svg = shape('svg', { class: 'boxes', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: `xMidYMid ${fit}`, 'aria-hidden': 'true' });
  boxed.forEach((tag, number) => {
    for (const { box } of tag.instances ?? []) {
      const [x, y] = [box[0] * width, box[1] * height];
      const group = shape('g', { class: `box box-${number % COLOURS}`, 'data-tag': tag.name });
      group.append(shape('rect', { x, y, width: box[2] * width, height: box[3] * height }));
      if (named) {
        const size = width / 28;
        const text = shape('text', { x: x + size / 4, y: Math.max(y + size, size), 'font-size': size });
        text.textContent = tag.name;
        group.append(text);
      }
      svg.append(group);
    }
  });
  place.append(svg);
}

/** Highlight the boxes of one tag. @param {HTMLElement} place @param {string} tag '' for none */
export function pointOut(place, tag) {
  const svg = place.querySelector('svg');
  svg?.classList.toggle('is-pointing', tag !== '');
  for (const group of svg?.children ?? []) group.classList.toggle('is-meant', group.getAttribute('data-tag') === tag);
}
