// What the dashboard knows, in one place; who shows a part of it listens for that part.

/**
 * @typedef {object} Session What `/session` says.
 * @property {boolean} required a token is asked for
 * @property {boolean} authenticated this browser has shown it
 * @property {string|null} csrf goes along with every request
 * @property {boolean} images pictures from CCP's image server are wanted
 */

/**
 * @typedef {object} Link How we stand with the daemon.
 * @property {'connecting'|'up'|'down'|'locked'} state
 * @property {string} [reason] why it is down
 * @property {boolean} [answers] it does answer, but with an error
 * @property {number} [retryAt] when it is tried again, in our own milliseconds
 * @property {number} [since] since when it is down, in our own milliseconds
 */

/**
 * @typedef {object} Overview
 * @property {any} status
 * @property {any[]} users
 * @property {any[]} queues
 * @property {any[]} webhooks
 * @property {number} at when it was asked for, in our own milliseconds
 */

export class State {
  constructor() {
    /** @type {Map<string, any>} */
    this.values = new Map();
    /** @type {Map<string, Set<(value: any) => void>>} */
    this.listeners = new Map();
  }

  /** @param {string} part @returns {any} */
  get(part) {
    return this.values.get(part);
  }

  /** @param {string} part @param {any} value */
  set(part, value) {
    this.values.set(part, value);
    for (const listener of this.listeners.get(part) ?? []) listener(value);
  }

  /**
   * Be told of every change of a part, and of what it is now if it is known.
   * @param {string} part
   * @param {(value: any) => void} listener
   */
  on(part, listener) {
    let those = this.listeners.get(part);
    if (!those) this.listeners.set(part, (those = new Set()));
    those.add(listener);
    if (this.values.has(part)) listener(this.values.get(part));
  }
}
