// Queries over HTTP, and the session that lets this browser in.

import { learnClock } from './time.js';

const PATIENCE = 12_000;
const here = (/** @type {string} */ path) => new URL(path, document.baseURI);

/** The daemon does not answer, or not as a daemon does. */
export class Gone extends Error {}

/** The daemon wants its token. */
export class Locked extends Error {}

/** The daemon refused, or failed; `remedy` is what to do, `code` one of the contract's. */
export class Refused extends Error {
  /** @param {string} message @param {string} [code] @param {string} [remedy] */
  constructor(message, code = 'INTERNAL', remedy = '') {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/** @type {string|null} */
let csrf = null;

/**
 * Whether this browser is let in, and what else must be known before data is asked for.
 * @returns {Promise<import('./state.js').Session>}
 */
export async function session() {
  const answer = await request('session', {});
  if (!answer.ok) throw new Gone(`the daemon answered ${answer.status}`);
  return learn(await json(answer));
}

/**
 * Show the token.
 * @param {string} token
 * @returns {Promise<import('./state.js').Session>}
 */
export async function unlock(token) {
  const answer = await request('session', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  const body = await json(answer);
  if (!answer.ok) {
    const error = body.errors?.[0];
    throw new Refused(error?.message ?? `the daemon answered ${answer.status}`, error?.extensions?.code);
  }
  return learn(body);
}

/** Be forgotten. */
export async function lock() {
  await request('session', { method: 'DELETE' });
  csrf = null;
}

/**
 * Ask, and answer the data.
 * @param {string} query
 * @param {Record<string, any>} [variables]
 * @returns {Promise<any>}
 */
export async function ask(query, variables = {}) {
  /** @type {Record<string, string>} */
  const headers = {
    'Content-Type': 'application/json',
    Accept: 'application/graphql-response+json, application/json',
  };
  if (csrf) headers['X-Killsyncd-CSRF'] = csrf;
  const answer = await request('graphql', {
    method: 'POST',
    headers,
    body: JSON.stringify({ query, variables }),
  });
  const body = await json(answer);
  const error = body.errors?.[0];
  if (answer.status === 401 || error?.extensions?.code === 'UNAUTHENTICATED') {
    throw new Locked(error?.message ?? 'this needs the daemon\'s token');
  }
  if (error) throw new Refused(error.message, error.extensions?.code, error.extensions?.remedy);
  if (!body.data) throw new Gone(`the daemon answered ${answer.status}`);
  return body.data;
}

/** Where the live socket is. */
export function socketAddress() {
  const address = here('graphql');
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  return address.href;
}

/** @param {any} body @returns {import('./state.js').Session} */
function learn(body) {
  csrf = body.csrf;
  return body;
}

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} */
async function request(path, options) {
  const sent = Date.now();
  try {
    const answer = await fetch(here(path), {
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(PATIENCE),
      ...options,
    });
    learnClock(answer.headers.get('Date'), sent, Date.now());
    return answer;
  } catch (error) {
    const late = error instanceof DOMException && error.name === 'TimeoutError';
    throw new Gone(late ? 'the answer takes too long' : 'no connection could be made');
  }
}

/** @param {Response} answer @returns {Promise<any>} */
async function json(answer) {
  try {
    return await answer.json();
  } catch {
    throw new Gone(`something that is not killsyncd answered (${answer.status})`);
  }
}
