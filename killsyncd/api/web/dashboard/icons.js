// Our own small pictures, drawn on a grid of 24. All are decoration: the words stand beside them.

import { svg } from './dom.js';

const STROKES = {
  check: 'M5 12.5l4.5 4.5L19 7.5',
  alert: 'M12 8v5M12 16.4v.2M12 3.5l9.2 16H2.8z',
  stop: 'M12 7.5v5.5M12 16.4v.2M8 3h8l5 5v8l-5 5H8l-5-5V8z',
  pause: 'M8.5 5.5v13M15.5 5.5v13',
  play: 'M8 5l11 7-11 7z',
  sun: 'M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  moon: 'M20 14.2A8.2 8.2 0 0 1 9.8 4a8.2 8.2 0 1 0 10.2 10.2z',
  auto: 'M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M12 3.5v17M12 8l6-2M12 12l8-2.6M12 16l7.5-2.4',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  login: 'M13 4h6v16h-6M4 12h10M10.5 8l4 4-4 4',
  logout: 'M11 4H5v16h6M10 12h10M16.5 8l4 4-4 4',
  back: 'M19 12H5M11 6l-6 6 6 6',
  sync: 'M4.5 12a7.5 7.5 0 0 1 13-5.1L20 9.2M20 4.5v4.7h-4.7M19.5 12a7.5 7.5 0 0 1-13 5.1L4 14.8M4 19.5v-4.7h4.7',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M12 7.5V12l3 2',
  plug: 'M9 3v5M15 3v5M6.5 8h11v3.5a5.5 5.5 0 0 1-11 0zM12 17v4',
  lock: 'M6 11h12v9H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11',
  skull: 'M12 3.5a7 7 0 0 0-7 7c0 2.6 1.2 4 2.8 5.1V19h8.4v-3.4C17.8 14.5 19 13.1 19 10.5a7 7 0 0 0-7-7M9.3 10.5v.6M14.7 10.5v.6M10.7 19v-2M13.3 19v-2',
  kill: 'M12 4.5a7.5 7.5 0 1 0 0 15a7.5 7.5 0 1 0 0-15M12 1.8v5M12 17.2v5M1.8 12h5M17.2 12h5',
  loss: 'M12 3l8 4v5.5c0 4.3-3.2 7.3-8 8.7c-4.8-1.4-8-4.4-8-8.7V7zM13 7l-3 4.3 4 2-2.7 4',
  both: 'M4 8h13M13.5 4.5L17 8l-3.5 3.5M20 16H7M10.5 12.5L7 16l3.5 3.5',
  other: 'M12 5a7 7 0 1 0 0 14a7 7 0 1 0 0-14M12 12v.1',
  blow: 'M12 3l1.9 5.4L19.5 6l-2.6 5.3L22 13l-5.6 1.4L18 20l-5-3.5L9.5 21l-.6-5.6L3.5 17l3-4.5L2 9.5l5.6-.5L7.5 3.5l3.5 3z',
  dropped: 'M12 4v11M7 10.5l5 5 5-5M5 20h14',
  destroyed: 'M6 6l12 12M18 6L6 18',
  moonrock: 'M12 4a8 8 0 1 0 0 16a8 8 0 1 0 0-16M9 9.5a1.6 1.6 0 1 0 .1 0M14.5 13.5a2 2 0 1 0 .1 0M14.5 8v.1',
  war: 'M5 4l14 14M19 4L5 18M3.5 16l4.5 4.5M20.5 16L16 20.5',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M15.3 15.3L20.5 20.5',
  bars: 'M5 20V11M12 20V4M19 20v-6',
  up: 'M12 19V6M6.5 11L12 5.5 17.5 11',
};

/**
 * @param {keyof typeof STROKES} name
 * @param {string} [className]
 * @returns {SVGElement}
 */
export function icon(name, className = '') {
  return svg(
    'svg',
    { viewBox: '0 0 24 24', class: `icon ${className}`, aria: { hidden: 'true' }, focusable: 'false' },
    svg('path', { d: STROKES[name] }),
  );
}

/**
 * The tab's icon as an address of its own: it must change just when the daemon cannot be asked for a file.
 * @param {string} colour
 */
export function favicon(colour) {
  const picture = svg('svg', { viewBox: '0 0 32 32' },
    svg('rect', { width: 32, height: 32, rx: 7, fill: '#10151d' }),
    svg('g', { fill: 'none', stroke: colour, 'stroke-width': 2.6, 'stroke-linecap': 'round' },
      svg('path', { d: 'M7.2 19.5a9.4 9.4 0 0 1 12.9-12M24.8 12.5a9.4 9.4 0 0 1-12.9 12' }),
      svg('path', { d: 'M16 10.5v3.2M16 18.3v3.2M10.5 16h3.2M18.3 16h3.2' })));
  return `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(picture))}`;
}

/** The mark: two arcs that chase each other round a target. @param {string} [className] */
export function logo(className = '') {
  return svg(
    'svg',
    { viewBox: '0 0 32 32', class: `logo ${className}`, aria: { hidden: 'true' }, focusable: 'false' },
    svg('path', { class: 'logo-arcs', d: 'M5 20.4A11.5 11.5 0 0 1 20.9 5.6M27 11.6A11.5 11.5 0 0 1 11.1 26.4' }),
    svg('path', { d: 'M16 9.5v3.5M16 19v3.5M9.5 16H13M19 16h3.5' }),
    svg('circle', { cx: 16, cy: 16, r: 1.3, class: 'logo-dot' }),
  );
}
