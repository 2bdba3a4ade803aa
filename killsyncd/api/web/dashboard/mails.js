// The list of mails: what is stored, page by page, and what arrives on top of it.

import { ask } from './graphql.js';
import { filterOf, narrows, nothing } from './filters.js';
import { MAILS, PASSING, mailsById } from './queries.js';

const PAGE = matchMedia('(max-width: 46rem)').matches ? 15 : 30;
const KEPT = 600;
const KEPT_AFTER_TRIM = 200;
const PAGES_A_SEARCH = 4;
const PAGES_AGAIN = KEPT / 100 + 1;
const PASSING_PAUSE = 300;
const NAMES_AT_ONCE = 20;
const NAME_PAUSES = [1500, 3000, 6000, 15_000, 60_000, 300_000];

/** @typedef {'all'|'kills'|'losses'} Side */
/**
 * What the list shows. space: a kind of space; worth: at least so much; the others are ids.
 * @typedef {{pilot: string|null, side: Side, order: 'time'|'value', space: string|null, worth: string|null, region: string|null,
 *   system: string|null, ship: string|null, group: string|null, corporation: string|null, alliance: string|null,
 *   character: string|null}} Choice
 */

/**
 * On which side our users are: 'kill', 'loss', 'both' (one of ours shot another), or 'none' (imports may be of others).
 * @param {any} mail
 * @param {string|null} [pilot] of this one user only
 */
export function sideOf(mail, pilot = null) {
  const ours = mail.users.filter((/** @type {any} */ each) => !pilot || each.user.characterId === pilot);
  const lost = ours.some((/** @type {any} */ each) => each.role === 'VICTIM');
  const shot = ours.some((/** @type {any} */ each) => each.role === 'ATTACKER');
  if (lost && shot) return 'both';
  if (lost) return 'loss';
  return shot ? 'kill' : 'none';
}

/** @param {any} mail @param {Choice} choice */
export function fits(mail, choice) {
  const side = sideOf(mail, choice.pilot);
  if (choice.pilot && side === 'none') return false;
  if (choice.side === 'kills') return side === 'kill' || side === 'both';
  if (choice.side === 'losses') return side === 'loss' || side === 'both';
  return true;
}

const VALUE_TRIES = 3;

/** Names are resolved, and values found, after a mail is stored. @param {any} mail */
const nameless = (mail) =>
  (mail.arrivedAt && mail.value === null && (mail.asked ?? 0) < VALUE_TRIES) ||
  [mail.solarSystem, mail.victim.shipType, mail.victim.character, mail.victim.corporation, mail.finalBlow?.character]
    .some((each) => each && each.name === null);

export class Mails {
  constructor() {
    /** @type {any[]} newest first */
    this.items = [];
    /** @type {Choice} */
    this.choice = nothing();
    /** @type {Set<string>} */
    this.known = new Set();
    /** @type {string|null} where the next page begins; null before the first, and after a trim */
    this.cursor = null;
    this.more = false;
    this.loaded = false;
    this.loading = false;
    /** @type {Error|null} */
    this.error = null;
    this.generation = 0;
    /** @type {any[]} arrivals that may pass the filter */
    this.waiting = [];
    /** @type {any} */
    this.passing = undefined;
    /** @type {() => void} */
    this.onChange = () => {};
    /** @type {() => boolean} whether nobody is reading far down */
    this.mayTrim = () => true;
    this.changing = false;
    /** @type {(mail: any) => void} */
    this.onArrival = () => {};
  }

  /** Show others. @param {Choice} choice */
  async choose(choice) {
    this.choice = choice;
    await this.reload();
  }

  /** Forget everything and begin anew. */
  async reload() {
    this.generation++;
    this.items = [];
    this.waiting = [];
    this.known.clear();
    this.cursor = null;
    this.more = false;
    this.loaded = false;
    this.loading = false;
    await this.loadMore();
  }

  /** A mail that was just stored. @param {any} mail */
  arrive(mail) {
    if (this.known.has(mail.id) || !fits(mail, this.choice)) return;
    if (!narrows(this.choice)) return this.put(mail);
    this.waiting.push(mail);
    this.passing ??= setTimeout(() => this.askPassing(), PASSING_PAUSE);
  }

  /** Whether an arrival passes is the daemon's to say: a mail of the list does not name everybody on it. */
  async askPassing() {
    const { choice, generation } = this;
    const some = this.waiting.splice(0, 100);
    this.passing = undefined;
    try {
      const filter = { ...filterOf(choice), killmailIds: some.map((each) => each.id) };
      const { killmails } = await ask(PASSING, { filter });
      if (generation !== this.generation) return;
      const passing = new Set(killmails.edges.map((/** @type {any} */ each) => each.node.id));
      for (const each of some) if (passing.has(each.id)) this.put(each);
    } catch {
      // The link says what is wrong; the next look at the list has them.
    }
    if (this.waiting.length) this.passing ??= setTimeout(() => this.askPassing(), PASSING_PAUSE);
  }

  /** Show an arrival. @param {any} mail */
  put(mail) {
    if (this.known.has(mail.id)) return;
    // A fight of just now goes on top; history, as a first sync brings it, to its place in time.
    const younger = this.choice.order === 'value'
      ? (/** @type {any} */ each) => (each.value?.total ?? -1) <= (mail.value?.total ?? -1)
      : (/** @type {any} */ each) => each.killmailTime <= mail.killmailTime;
    const found = this.items.findIndex(younger);
    const place = found < 0 ? this.items.length : found;
    if (found < 0 && this.more) return; // older than what is shown: a later page brings it
    this.known.add(mail.id);
    this.items.splice(place, 0, { ...mail, arrivedAt: Date.now() });
    if (this.items.length > KEPT && this.mayTrim()) this.trim();
    this.onArrival(mail);
    this.changed();
    this.askNames();
  }

  /** Tell of changes, once a frame however many there are: a first sync brings dozens a second. */
  changed() {
    if (this.changing) return;
    this.changing = true;
    requestAnimationFrame(() => {
      this.changing = false;
      this.onChange();
    });
  }

  /** The next page of older ones. Filters that the daemon does not have are applied here. */
  async loadMore() {
    if (this.loading) return;
    const generation = this.generation;
    this.loading = true;
    this.error = null;
    this.changed();
    try {
      let found = 0;
      const again = this.cursor === null && this.items.length > 0; // after a trim: from the top
      for (let page = 0; page < (again ? PAGES_AGAIN : PAGES_A_SEARCH); page++) {
        const filter = filterOf(this.choice);
        const order = this.choice.order === 'value' ? 'VALUE_DESC' : 'TIME_DESC';
        const first = this.choice.side === 'all' && !again ? PAGE : 100;
        const { killmails } = await ask(MAILS, { first, after: this.cursor, filter, order });
        if (generation !== this.generation) return;
        this.cursor = killmails.pageInfo.endCursor ?? this.cursor;
        this.more = killmails.pageInfo.hasNextPage;
        for (const { node } of killmails.edges) {
          if (this.known.has(node.id) || !fits(node, this.choice)) continue;
          this.known.add(node.id);
          this.items.push(node);
          found++;
        }
        if (found >= PAGE / 2 || !this.more) break;
      }
      this.loaded = true;
    } catch (error) {
      if (generation === this.generation) this.error = /** @type {Error} */ (error);
    } finally {
      if (generation === this.generation) {
        this.loading = false;
        this.changed();
        this.askNames();
      }
    }
  }

  /** A tab that is open for weeks must not keep every mail; the next page is then looked for from the top. */
  trim() {
    this.items.length = KEPT_AFTER_TRIM;
    this.known = new Set(this.items.map((each) => each.id));
    this.cursor = null;
    this.more = true;
  }

  /** Names are resolved after a mail is stored: ask again for those that have none, with growing pauses. */
  askNames() {
    if (this.asking) return;
    const waiting = this.items.filter((each) => nameless(each) && (each.asked ?? 0) < NAME_PAUSES.length);
    if (!waiting.length) return;
    const pause = Math.min(...waiting.map((each) => NAME_PAUSES[each.asked ?? 0]));
    this.asking = setTimeout(async () => {
      const some = this.items
        .filter((each) => nameless(each) && (each.asked ?? 0) < NAME_PAUSES.length)
        .sort((one, other) => (one.asked ?? 0) - (other.asked ?? 0))
        .slice(0, NAMES_AT_ONCE);
      try {
        const named = some.length ? await ask(mailsById(some.map((each) => each.id))) : {};
        const byId = new Map(Object.values(named).filter(Boolean).map((each) => [each.id, each]));
        for (const each of some) Object.assign(each, byId.get(each.id), { asked: (each.asked ?? 0) + 1 });
        this.changed();
      } catch {
        for (const each of some) each.asked = (each.asked ?? 0) + 1; // the link says what is wrong
      }
      this.asking = undefined;
      this.askNames();
    }, pause);
  }
}
