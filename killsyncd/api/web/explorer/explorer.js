// The schema, a box for queries, and their answers. Talks to the daemon alone.

const at = (id) => document.getElementById(id);
const query = at("query"), variables = at("variables"), answer = at("answer"), state = at("state");
let csrf = null;
let socket = null;

const EXAMPLES = {
  "Is it syncing?": `{\n  status {\n    syncing\n    problems { code reason remedy since }\n    pendingDetails\n    pendingEta\n    budgets {\n      group\n      remaining\n      limit\n      nextTokensAt\n    }\n  }\n}`,
  "Who logged in": `{\n  users {\n    characterName\n    state\n    remedy\n    lastKillmailSyncAt\n    pending\n  }\n}`,
  "The last killmails": `query Last($first: Int = 10, $after: String) {\n  killmails(first: $first, after: $after) {\n    totalCount\n    edges {\n      node {\n        id\n        killmailTime\n        solarSystem { name }\n        victim { character { name } shipType { name } }\n        finalBlow { character { name } shipType { name } }\n        attackerCount\n      }\n    }\n    pageInfo { hasNextPage endCursor }\n  }\n}`,
  "Live feed": `subscription {\n  newKillmail {\n    feedCursor\n    killmailTime\n    solarSystem { name }\n    victim { character { name } shipType { name } }\n    attackerCount\n  }\n}`,
  "The queue, live": `subscription {\n  workerStatusUpdates {\n    queueName\n    messageCount\n    consumerCount\n    byPriority { priority count }\n  }\n}`,
};

function say(text) { state.textContent = text; }

function show(value, bad = false) {
  answer.textContent = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  answer.classList.toggle("bad", bad);
}

async function session() {
  const found = await (await fetch("session")).json();
  csrf = found.csrf;
  at("door").hidden = found.authenticated;
  return found.authenticated;
}

async function ask(body) {
  const headers = { "Content-Type": "application/json", Accept: "application/graphql-response+json" };
  if (csrf) headers["X-Killsyncd-CSRF"] = csrf;
  const response = await fetch("graphql", { method: "POST", headers, body: JSON.stringify(body) });
  if (response.status === 401) await session();
  return response.json();
}

function stop() {
  socket?.close(1000);
  socket = null;
  at("stop").hidden = true;
}

function subscribe(body) {
  const lines = [];
  const address = new URL("graphql", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address, "graphql-transport-ws");
  const mine = socket;
  at("stop").hidden = false;
  const send = (message) => mine.send(JSON.stringify(message));
  mine.onopen = () => send({ type: "connection_init" });
  mine.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "connection_ack") { send({ id: "1", type: "subscribe", payload: body }); say("Subscribed; waiting for news."); show(""); }
    else if (message.type === "ping") send({ type: "pong" });
    else if (message.type === "next") {
      lines.unshift(JSON.stringify(message.payload, null, 2));
      lines.length = Math.min(lines.length, 100);
      show(lines.join("\n\n"));
      say(`${new Date().toLocaleTimeString()}: ${lines.length} received`);
    } else if (message.type === "error") { show(message.payload, true); stop(); }
    else if (message.type === "complete") { say("Complete."); stop(); }
  };
  mine.onclose = ({ code, reason }) => { if (socket === mine) { say(`The socket was closed: ${code} ${reason}`); stop(); } };
}

async function run() {
  stop();
  const body = { query: query.value };
  if (variables.value.trim()) {
    try { body.variables = JSON.parse(variables.value); }
    catch (error) { show(`The variables are not JSON: ${error.message}`, true); return; }
  }
  const bare = query.value.replace(/#.*$/gm, "");
  if (/^\s*subscription\b/m.test(bare) && !/^\s*(query|mutation)\b/m.test(bare)) { subscribe(body); return; }
  say("Asking.");
  const begun = performance.now();
  try {
    const result = await ask(body);
    show(result, Boolean(result.errors));
    say(`Answered in ${Math.round(performance.now() - begun)} ms`);
  } catch (error) {
    show(`The daemon does not answer: ${error.message}`, true);
    say("No answer.");
  }
}

// --- the schema -----------------------------------------------------------------------------------

const INTROSPECTION = `{ __schema { types { name kind description
  fields { name description args { name description defaultValue type { ...T } } type { ...T } }
  inputFields { name description defaultValue type { ...T } }
  enumValues { name description } } } }
  fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`;

const written = (type) => type.kind === "NON_NULL" ? `${written(type.ofType)}!` : type.kind === "LIST" ? `[${written(type.ofType)}]` : type.name;
const named = (type) => type.ofType ? named(type.ofType) : type.name;

function make(tag, text, ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function link(type) {
  const button = make("button", written(type));
  button.type = "button";
  button.addEventListener("click", () => open(named(type)));
  return button;
}

function open(name) {
  at("find").value = "";
  filter();
  const found = document.querySelector(`details[data-name="${CSS.escape(name)}"]`);
  if (!found) return;
  found.open = true;
  found.scrollIntoView({ block: "start" });
  found.querySelector("summary").focus();
}

function describe(field) {
  const term = make("dt", field.name);
  if (field.args?.length) {
    term.append("(");
    field.args.forEach((arg, index) => term.append(index ? ", " : "", `${arg.name}: `, link(arg.type), arg.defaultValue ? ` = ${arg.defaultValue}` : ""));
    term.append(")");
  }
  if (field.type) term.append(": ", link(field.type));
  if (field.defaultValue) term.append(` = ${field.defaultValue}`);
  const entries = [term, make("dd", field.description ?? "")];
  for (const arg of field.args ?? []) if (arg.description) entries.push(make("dd", `${arg.name}: ${arg.description}`));
  return entries;
}

async function schema() {
  const { data } = await ask({ query: INTROSPECTION });
  if (!data) return;
  const first = ["Query", "Mutation", "Subscription"];
  const rank = (type) => first.includes(type.name) ? first.indexOf(type.name) : 9;
  const types = data.__schema.types.filter((type) => !type.name.startsWith("__"));
  types.sort((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name));
  at("types").replaceChildren(...types.map((type) => {
    const kind = make("span", ` ${type.kind.toLowerCase().replace("_", " ")}`);
    kind.className = "kind";
    const details = make("details", "", make("summary", type.name, kind));
    details.dataset.name = type.name;
    const parts = [...(type.fields ?? []), ...(type.inputFields ?? []), ...(type.enumValues ?? [])];
    details.dataset.words = [type.name, ...parts.map((part) => part.name)].join(" ").toLowerCase();
    if (type.description) details.append(make("p", type.description));
    if (parts.length) details.append(make("dl", "", ...parts.flatMap(describe)));
    details.open = type.name === "Query";
    return details;
  }));
  filter();
}

function filter() {
  const words = at("find").value.trim().toLowerCase();
  for (const details of at("types").children) details.hidden = Boolean(words) && !details.dataset.words.includes(words);
}

// --- beginning ------------------------------------------------------------------------------------

for (const name of Object.keys(EXAMPLES)) at("example").append(new Option(name, name));
at("example").addEventListener("change", (event) => {
  if (EXAMPLES[event.target.value]) query.value = EXAMPLES[event.target.value];
  event.target.value = "";
});
at("run").addEventListener("click", run);
at("stop").addEventListener("click", () => { stop(); say("Stopped."); });
at("find").addEventListener("input", filter);
for (const box of [query, variables]) {
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  });
}
at("door").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch("session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: at("token").value }),
  });
  at("token").value = "";
  at("door-error").textContent = response.ok ? "" : "This is not the token.";
  if (response.ok && await session()) schema();
});

const given = new URLSearchParams(location.search);
query.value = given.get("query") ?? EXAMPLES["Is it syncing?"];
variables.value = given.get("variables") ?? "";
try { if (await session()) await schema(); }
catch { say("The daemon does not answer."); }
