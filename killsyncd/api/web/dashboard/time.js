// Times: EVE's (UTC) and the reader's own, how long ago, how long still. What changes by itself is
// marked with data-ago, data-until or data-for and written again every second.

import { h } from './dom.js';

const PLAUSIBLE_OFFSET = 2000;
let offset = 0;

/**
 * Learn the daemon's clock from an answer, so that countdowns are right on a machine whose clock is not.
 * @param {string|null} date the Date header, whole seconds
 * @param {number} sent our own milliseconds
 * @param {number} received our own milliseconds
 */
export function learnClock(date, sent, received) {
  const there = date ? Date.parse(date) : NaN;
  if (Number.isNaN(there)) return;
  const found = there + 500 - (sent + received) / 2;
  offset = Math.abs(found) > PLAUSIBLE_OFFSET + (received - sent) / 2 ? found : 0;
}

/** The daemon's time, in milliseconds. */
export function now() {
  return Date.now() + offset;
}

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const LOCAL_DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', timeZone: 'UTC' });
const LOCAL_LONG_DAY = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeZone: 'UTC' });
const LOCAL_SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** In the reader's own zone and manner. @param {number} at */
export const local = (at) => LOCAL.format(at);

/** The same without seconds. @param {number} at */
export const localShort = (at) => LOCAL_SHORT.format(at);

/** A UTC day, short. @param {number} at */
export const day = (at) => LOCAL_DAY.format(at);

/** A UTC day, written out. @param {number} at */
export const longDay = (at) => LOCAL_LONG_DAY.format(at);

/** As EVE writes it: `2026.11.18 14:03:22`. @param {number} at @param {boolean} [seconds] */
export function eve(at, seconds = true) {
  const text = new Date(at).toISOString();
  return `${text.slice(0, 10).replaceAll('-', '.')} ${text.slice(11, seconds ? 19 : 16)}`;
}

/** Both, for a title. @param {number} at */
export const both = (at) => `${eve(at)} EVE time (UTC)\n${local(at)} here`;

/** A length of time in its two largest units. @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  if (days >= 730) return `${Math.floor(days / 365.25)} years`;
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** How long ago, in words. @param {number} at */
export function ago(at) {
  const seconds = (now() - at) / 1000;
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86_400) return `${Math.floor(seconds / 86_400)} d ago`;
  return LOCAL_SHORT.format(at);
}

/** How long still, as a clock runs down. @param {number} at */
export function until(at) {
  const seconds = Math.ceil((at - now()) / 1000);
  if (seconds <= 0) return 'now';
  if (seconds >= 3600) return duration(seconds);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** @param {string} iso */
const moment = (iso) => Date.parse(iso);

/**
 * `<time>` that says how long ago.
 * @param {string} iso
 * @param {string} [className]
 */
export function timeAgo(iso, className) {
  const at = moment(iso);
  return h('time', { datetime: iso, title: both(at), class: className, data: { ago: at } }, ago(at));
}

/**
 * `<time>` that counts down.
 * @param {string} iso
 * @param {string} [className]
 */
export function timeUntil(iso, className) {
  const at = moment(iso);
  return h('time', { datetime: iso, title: both(at), class: className, data: { until: at } }, until(at));
}

/** How long it has been going on. @param {string} iso */
export function timeSince(iso) {
  const at = moment(iso);
  return h('time', { datetime: iso, title: both(at), data: { for: at } }, duration((now() - at) / 1000));
}

/** How old something is, however old. @param {string} iso */
export const timeAge = timeSince;

function tick() {
  for (const node of document.querySelectorAll('time[data-ago], time[data-until], time[data-for]')) {
    const { ago: past, until: future, for: since } = /** @type {HTMLElement} */ (node).dataset;
    const text = past ? ago(+past) : future ? until(+future) : duration((now() - Number(since)) / 1000);
    if (node.textContent !== text) node.textContent = text;
  }
  for (const listener of everySecond) listener();
}

/** @type {Set<() => void>} */
const everySecond = new Set();

/** Do this every second, on the second. @param {() => void} listener */
export function onTick(listener) {
  everySecond.add(listener);
  listener();
}

/** Start the clock. */
export function startClock() {
  const next = () => {
    tick();
    setTimeout(next, 1000 - (now() % 1000) + 5);
  };
  next();
}
