// The whole audit of GraphQL over HTTP: node audit.mjs URL. Prints one JSON object; what failed, by level.
import { serverAudits } from 'graphql-http';

const counts = {};
const failed = [];
for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const result = await audit.fn();
  // MUST, SHOULD or MAY: the first word of the audit's name.
  const level = audit.name.split(' ')[0];
  counts[level] = (counts[level] ?? 0) + 1;
  if (result.status !== 'ok') failed.push(`${audit.id} ${audit.name}: ${result.reason}`);
}
console.log(JSON.stringify({ counts, failed }));
