// A subscriber with graphql-ws: node subscribe.mjs URL QUERY VARIABLES COUNT [AUTHORIZATION].
// Prints each result as a line of JSON and ends after COUNT. Between them it may lose its connection:
// it connects again and goes on after the last feedCursor it saw.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, query, variables, count, authorization] = process.argv.slice(2);
const given = JSON.parse(variables);
let left = Number(count);

const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: authorization ? { authorization } : undefined,
  retryAttempts: 0,
});

while (left > 0) {
  try {
    for await (const result of client.iterate({ query, variables: given })) {
      console.log(JSON.stringify(result));
      const cursor = result.data?.newKillmail?.feedCursor;
      if (cursor) given.after = cursor;
      left -= 1;
      if (left === 0) break;
    }
  } catch (reason) {
    if (Array.isArray(reason) || ![1001, 1006].includes(reason?.code ?? 1006)) {
      console.log(JSON.stringify({ failed: reason?.code ?? reason }));
      process.exit(1);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
await client.dispose();
