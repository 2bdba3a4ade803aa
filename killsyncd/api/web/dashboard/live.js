// The way to the daemon: lets itself in, asks what it must know, follows the feed, and comes back after
// an outage where it stopped.

import { Gone, Locked, Refused, ask, session, socketAddress } from './graphql.js';
import { ACTIVITY, NEW_MAIL, OVERVIEW, QUEUES, STATUS, storedOf } from './queries.js';
import { Socket } from './socket.js';

const PAUSES = [1, 2, 4, 8, 15];
const STEADY = 10_000;
const LOOK_EVERY = 10_000;
const LOOK_EVERY_HIDDEN = 60_000;
const LOOK_APART = 1500;
const ACTIVITY_EVERY = 60_000;
const ACTIVITY_APART = 4000;
const STORED_APART = 5000;
const COUNTED_USERS = 8; // as many as the panel shows
const SHARE = 10; // a daemon that takes long to answer is asked so much less often
const NO_SOCKET = 'the live connection is not let through: a proxy in between must pass WebSockets on';

export class Live {
  /**
   * @param {import('./state.js').State} state
   * @param {import('./mails.js').Mails} mails
   */
  constructor(state, mails) {
    this.state = state;
    this.mails = mails;
    this.failures = 0;
    /** @type {string|null} */
    this.cursor = null;
    /** @type {Socket|null} */
    this.socket = null;
    /** @type {Record<string, any>} */
    this.timers = {};
    this.lookedAt = 0;
    this.lookTook = 0;
    this.countedAt = 0;
    this.countTook = 0;
    this.storedAt = 0;
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      if (this.state.get('link').state === 'down') this.connect();
      else this.look();
    });
    addEventListener('online', () => {
      if (this.state.get('link').state === 'down') this.connect();
    });
  }

  /** Let ourselves in and begin; also the way back after an outage. */
  async connect() {
    clearTimeout(this.timers.retry);
    if (this.connecting) return;
    this.connecting = true;
    const before = this.state.get('link');
    this.state.set('link', { ...before, state: before?.state === 'down' ? 'down' : 'connecting', retryAt: undefined });
    try {
      const found = await session();
      this.state.set('session', found);
      if (!found.authenticated) return this.locked();
      await this.fetchOverview();
      this.open();
    } catch (error) {
      this.failed(/** @type {Error} */ (error));
    } finally {
      this.connecting = false;
    }
  }

  /** Ask now what the state is, however lately that was done. */
  async refresh() {
    clearTimeout(this.timers.look);
    try {
      await this.fetchOverview();
    } catch (error) {
      this.lookFailed(/** @type {Error} */ (error));
    }
    this.lookLater();
  }

  // -- the socket --------------------------------------------------------------------------------------

  open() {
    this.socket?.close();
    let met = false;
    const socket = new Socket(socketAddress(), (code, reason) => {
      this.socket = null;
      if (code === 4403 || code === 4401) this.locked();
      else this.failed(new Gone(reason || (met ? 'the connection was cut' : NO_SOCKET)));
    });
    this.socket = socket;
    socket.ready.then(() => {
      if (this.socket !== socket) return;
      met = true;
      this.state.set('link', { state: 'up' });
      this.timers.steady = setTimeout(() => (this.failures = 0), STEADY);
      if (!this.mails.loaded || this.mails.error) this.mails.reload();
      this.fetchActivity();
      this.lookLater();
    });
    this.cursor ??= this.state.get('overview').status.feedCursor;
    socket.subscribe(NEW_MAIL, { after: this.cursor }, {
      next: ({ newKillmail: mail }) => {
        this.cursor = mail.feedCursor;
        this.mails.arrive(mail);
        this.soon();
        this.activitySoon();
      },
      // The feed began anew (a restored or moved database): so do we.
      error: () => this.startOver(socket),
    });
    socket.subscribe(QUEUES, {}, {
      next: ({ workerStatusUpdates: queues }) => {
        const overview = this.state.get('overview');
        this.state.set('overview', { ...overview, queues });
        this.soon();
      },
      error: () => {},
    });
  }

  /** @param {Socket} socket */
  async startOver(socket) {
    if (this.socket !== socket) return;
    const stale = this.cursor;
    socket.close();
    this.socket = null;
    this.cursor = null;
    try {
      await this.fetchOverview();
      if (this.state.get('overview').status.feedCursor === stale) throw new Gone('the feed cannot be followed');
      this.mails.reload();
      this.open();
    } catch (error) {
      this.failed(/** @type {Error} */ (error));
    }
  }

  // -- looking -----------------------------------------------------------------------------------------

  async fetchOverview() {
    this.lookedAt = Date.now();
    const data = await ask(OVERVIEW).catch((error) => this.fetchStatus(error));
    this.lookTook = Date.now() - this.lookedAt;
    this.state.set('overview', { status: data.status, users: data.users, queues: data.workerStatus, webhooks: data.webhooks, at: Date.now() });
    this.state.set('stale', null);
    await this.fetchStored(data.users).catch(() => {}); // without it only the bars are missing
  }

  /**
   * Without its database the daemon knows no pilots, but it can say what is the matter.
   * @param {Error} error what the whole question was answered with; thrown again in the end
   */
  async fetchStatus(error) {
    if (!(error instanceof Refused)) throw error;
    const { status } = await ask(STATUS).catch(() => ({ status: null }));
    const known = this.state.get('overview');
    if (status) this.state.set('overview', { users: [], queues: [], webhooks: [], at: Date.now(), ...known, status });
    throw error;
  }

  /** How far first syncs are: what is stored beside what is pending. @param {any[]} users */
  async fetchStored(users) {
    const ids = users.filter((each) => each.pending > 0).map((each) => each.characterId).slice(0, COUNTED_USERS);
    if (!ids.length) {
      if (this.state.get('stored')?.size) this.state.set('stored', new Map());
      return;
    }
    if (Date.now() - this.storedAt < STORED_APART) return;
    this.storedAt = Date.now();
    const counts = await ask(storedOf(ids));
    this.state.set(
      'stored',
      new Map(ids.map((id, index) => [id, counts[`u${index}`]?.killmails.totalCount ?? 0])),
    );
  }

  async fetchActivity() {
    clearTimeout(this.timers.activity);
    this.countedAt = Date.now();
    try {
      this.state.set('activity', { days: (await ask(ACTIVITY)).activity });
      this.countTook = Date.now() - this.countedAt;
    } catch (error) {
      this.state.set('activity', { days: this.state.get('activity')?.days, error });
    }
    this.timers.activity = setTimeout(() => this.fetchActivity(), ACTIVITY_EVERY);
  }

  /** Something has happened: look soon, but not for every single thing. */
  soon() {
    if (this.timers.soon || document.hidden) return;
    const wait = Math.max(250, this.lookedAt + Math.max(LOOK_APART, SHARE * this.lookTook) - Date.now());
    this.timers.soon = setTimeout(() => {
      this.timers.soon = null;
      this.look();
    }, wait);
  }

  activitySoon() {
    const wait = Math.max(500, this.countedAt + Math.max(ACTIVITY_APART, SHARE * this.countTook) - Date.now());
    clearTimeout(this.timers.activity);
    this.timers.activity = setTimeout(() => this.fetchActivity(), wait);
  }

  look() {
    if (this.state.get('link').state === 'up') this.refresh();
  }

  lookLater() {
    clearTimeout(this.timers.look);
    this.timers.look = setTimeout(() => this.look(), document.hidden ? LOOK_EVERY_HIDDEN : LOOK_EVERY);
  }

  /** @param {Error} error */
  lookFailed(error) {
    if (error instanceof Locked) this.locked();
    else if (error instanceof Gone) this.failed(error);
    else this.state.set('stale', error);
  }

  // -- when it fails -----------------------------------------------------------------------------------

  locked() {
    this.hangUp();
    this.state.set('link', { state: 'locked' });
  }

  /** @param {Error} error */
  failed(error) {
    if (error instanceof Locked) return this.locked();
    this.hangUp();
    const before = this.state.get('link');
    const seconds = PAUSES[Math.min(this.failures++, PAUSES.length - 1)] * (0.8 + 0.4 * Math.random());
    this.timers.retry = setTimeout(() => this.connect(), seconds * 1000);
    this.state.set('link', {
      state: 'down',
      reason: error.message,
      answers: error instanceof Refused,
      since: before?.since ?? Date.now(),
      retryAt: Date.now() + seconds * 1000,
    });
  }

  hangUp() {
    this.socket?.close();
    this.socket = null;
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.timers = {};
  }
}
