// GraphiQL for whoever is signed in. Subscriptions run over WebSocket, everything else over HTTP.

import { createsFirst } from "./account.js";
import { accessToken, account, ended, onChange } from "./session.js";

const closed = document.getElementById("closed");
const place = document.getElementById("graphiql");
const loaded = import("../vendor/graphiql.js");
// The page of an app's own schema has other fields than the platform's: its first query is its reader's.
const platform = location.pathname === "/graphql";
const welcome = platform ? fetch("/static/site/welcome.graphql").then((response) => response.text()) : undefined;

let opened = false;

async function open(name) {
  opened = true;
  const [{ GraphiQL, createElement, createRoot, ...tools }, defaultQuery] = await Promise.all([loaded, welcome]);
  closed.hidden = true;
  place.hidden = false;
  const properties = {
    schema: name === null ? null : undefined, // null: do not ask for it
    fetcher: (operation, options) => run(tools, operation, options),
    defaultQuery,
    query: new URLSearchParams(location.search).get("query") ?? undefined,
    storage: platform ? undefined : stored(location.pathname),
    shouldPersistHeaders: false, // they may hold a token
  };
  createRoot(place).render(createElement(GraphiQL, properties));
}

let shown = account();

function show(name) {
  if (name === shown) return; // only the token is new
  shown = name;
  // GraphiQL keeps the schema outside its components: what another account may see begins on a new page.
  if (opened) location.reload();
  else open(name);
}

function run({ getOperationAST, createClient }, operation, { documentAST, headers: typed = {} } = {}) {
  const definition = documentAST && getOperationAST(documentAST, operation.operationName);
  const follows = definition?.operation === "subscription";
  return follows ? follow(createClient, operation, typed) : answer(operation, typed);
}

/** What goes along with an operation: the token, unless one was typed. */
async function credentials(typed) {
  if (Object.keys(typed).some((name) => name.toLowerCase() === "authorization")) return typed;
  const token = await accessToken();
  return token === null ? typed : { ...typed, Authorization: `Bearer ${token}` };
}

async function answer(operation, typed) {
  const headers = await credentials(typed);
  const response = await fetch(location.pathname, {
    method: "POST",
    headers: {
      ...headers,
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json",
    },
    body: JSON.stringify(operation),
  });
  // The status of a request that was not executed; a field that refuses to sign somebody in is answered with 200.
  if (response.status === 401 && headers !== typed) ended();
  if (response.headers.get("content-type")?.includes("json")) return response.json();
  throw new Error(`The server answered ${response.status}: ${await response.text()}`);
}

/** The answers, on a connection of their own. It is not opened again if it breaks: changes may have been missed. */
async function* follow(createClient, operation, typed) {
  const url = `${location.protocol.replace("http", "ws")}//${location.host}${location.pathname}`;
  const client = createClient({ url, retryAttempts: 0, connectionParams: () => credentials(typed) });
  try {
    yield* client.iterate(operation);
  } catch (problem) {
    throw readable(problem);
  } finally {
    client.dispose();
  }
}

/** What the page of one schema keeps, apart from what those of others do. */
function stored(path) {
  const mine = (key) => `${path} ${key}`;
  const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(mine("")));
  return {
    get length() {
      return keys().length;
    },
    getItem: (key) => localStorage.getItem(mine(key)),
    setItem: (key, value) => localStorage.setItem(mine(key), value),
    removeItem: (key) => localStorage.removeItem(mine(key)),
    clear: () => keys().forEach((key) => localStorage.removeItem(key)),
  };
}

function readable(problem) {
  if (Array.isArray(problem)) return new Error(problem.map(({ message }) => message).join("\n"));
  if (problem instanceof CloseEvent) {
    return new Error(`The connection was closed: ${problem.code} ${problem.reason}`.trim());
  }
  return problem;
}

const anonymous = document.getElementById("anonymous");
anonymous.addEventListener("click", () => open(null));
anonymous.disabled = false;

if (shown !== null) open(shown);
onChange(show);
createsFirst.then((first) => {
  document.getElementById("how").hidden = first;
  document.getElementById("how-first").hidden = !first;
  closed.hidden = opened;
});
