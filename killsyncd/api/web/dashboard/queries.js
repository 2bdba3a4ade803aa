// Everything that is asked of the daemon.

const ENTITY = '{ id name }';
const SYSTEM = '{ id name security securityClass region { id name } }';
const HULL = '{ id name group { id name } }';

const MAIL = `
  id feedCursor fresh killmailTime createdAt attackerCount solo npc warId
  value { total }
  solarSystem ${SYSTEM}
  victim { character ${ENTITY} corporation ${ENTITY} alliance ${ENTITY} faction ${ENTITY} shipType ${HULL} }
  finalBlow { character ${ENTITY} corporation ${ENTITY} faction ${ENTITY} shipType ${ENTITY} }
  users { role user { characterId characterName } }
`;

export const OVERVIEW = `query Overview {
  status {
    syncing feedCursor pendingDetails quarantined oldestPendingAt pendingEta downtime version startedAt
    lastProducerRun nextProducerRun lastProducerQueued producerRunning producerEnabled
    problems { code reason remedy since characterId stops }
    waiting { what code reason until count characterId }
    budgets { group characterId limit remaining windowSeconds nextTokensAt }
    usersByState { state count }
  }
  users {
    id characterId characterName state stateReason remedy lastKillmailSyncAt pending
  }
  workerStatus { queueName messageCount consumerCount byPriority { priority count } }
  webhooks {
    name kind state reason remedy waiting delivered setAside replaying lastDeliveredAt nextAttemptAt
    last { killmailId became why }
  }
}`;

/** What the card of sources shows; pilots' own lists stand in the card of pilots. */
export const SOURCES = `query Sources {
  corporations: sources(kind: CORPORATION) {
    id subject ${ENTITY} state stateReason remedy via { characterName } lastSyncAt pending completeFrom completeTo
  }
  zkillboard: sources(kind: ZKILLBOARD) { id state stateReason remedy lastSyncAt pending }
  files: sources(kind: IMPORT) { id state }
}`;

export const ACTIVITY = 'query Activity { activity(days: 30) { day kills losses iskDestroyed iskLost } }';

export const MAILS = `query Mails($first: Int!, $after: String, $filter: KillmailFilter, $order: KillmailOrder) {
  killmails(first: $first, after: $after, filter: $filter, orderBy: $order) {
    edges { node { ${MAIL} } }
    pageInfo { hasNextPage endCursor }
  }
}`;

export const NEW_MAIL = `subscription NewMail($after: String) {
  newKillmail(after: $after) { ${MAIL} }
}`;

export const QUEUES = `subscription Queues {
  workerStatusUpdates { queueName messageCount consumerCount byPriority { priority count } }
}`;

/** Several mails by id, for names that were not known yet. @param {string[]} ids */
export const mailsById = (ids) =>
  `query Named { ${ids.map((id, index) => `m${index}: killmail(id: ${JSON.stringify(id)}) { ...mail }`).join(' ')} }
   fragment mail on Killmail { ${MAIL} }`;

/** Which of these pass a filter. */
export const PASSING = `query Passing($filter: KillmailFilter) {
  killmails(first: 100, filter: $filter) { edges { node { id } } }
}`;

export const SEARCH = `query Search($text: String!, $kinds: [EntityKind!], $first: Int) {
  search(text: $text, kinds: $kinds, first: $first) { id name kind }
}`;

const SUMS = 'kills losses solo finalBlows iskDestroyed iskLost efficiency';
const TALLY = '{ entity { id name kind } kills losses isk }';

export const STATISTICS = `query Statistics($from: DateTime!, $to: DateTime!, $pilot: ID) {
  statistics(from: $from, to: $to, characterId: $pilot) {
    ${SUMS}
    byMonth { month ${SUMS} }
    shipsFlown(first: 8) ${TALLY} shipsKilled(first: 8) ${TALLY} shipsLost(first: 8) ${TALLY}
    systems(first: 8) ${TALLY} regions(first: 8) ${TALLY} opponents(first: 8) ${TALLY}
  }
}`;

export const RANKING = `query Ranking($from: DateTime!, $to: DateTime!, $by: RankBy!) {
  ranking(from: $from, to: $to, by: $by, first: 20) { rank name ${SUMS} users { characterId } }
}`;

/** How many mails of these characters are stored. @param {string[]} ids */
export const storedOf = (ids) =>
  `query Stored { ${ids
    .map((id, index) => `u${index}: user(characterId: ${JSON.stringify(id)}) { killmails(first: 1) { totalCount } }`)
    .join(' ')} }`;

const ITEM = `itemType ${ENTITY} flag quantityDropped quantityDestroyed singleton value`;
const PARTY = `character ${ENTITY} corporation ${ENTITY} alliance ${ENTITY} faction ${ENTITY}`;

export const KILLMAIL = `query Killmail($id: ID!) {
  killmail(id: $id) {
    id fresh killmailTime createdAt attackerCount solo npc warId moonId
    value { total destroyed dropped ship fitted cargo method pricedOn unpriced ${ENTITY} }
    fitting { eft }
    solarSystem ${SYSTEM}
    victim { ${PARTY} shipType ${HULL} damageTaken position { x y z } }
    attackers { ${PARTY} shipType ${ENTITY} weaponType ${ENTITY} damageDone finalBlow securityStatus }
    items { ${ITEM} items { ${ITEM} items { ${ITEM} } } }
    users { role user { characterId characterName } }
    sources { kind subject ${ENTITY} }
  }
}`;

/** As the first part of OVERVIEW, which a daemon without its database still knows. */
export const STATUS = OVERVIEW.replace('query Overview', 'query Status').replace(/^  users \{[^]*$/m, '}');

/** What --force does: everybody, each list as soon as ESI lets it be asked. */
export const SYNC = `mutation Sync($characterIds: [ID!]) {
  queueKillmailSync(characterIds: $characterIds, force: true) { queued mode reason listAt user { characterName } }
}`;
