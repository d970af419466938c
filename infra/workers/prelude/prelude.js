// Runs before a deployed app's own code and gives it what RootCX apps expect: `serve`, `log`, `emit`, `uploadFile`, and
// the context its handlers get. One JSON object a line goes each way; see `process.py` for the other side.
//
// An app that never calls `serve` reads standard input itself, and is left alone but for its console.

import { AsyncLocalStorage } from "node:async_hooks";
import { format } from "node:util";

const LINE_BYTES_MAX = 2 ** 20;
const ERROR_CHARS_MAX = 8192;
const HALF = /(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g; // of a character: JSON.stringify spells those so, and only those
const SPOKEN = new Set([
  "discover", "rpc_response", "job_result", "log", "event", "agent_chunk", "agent_done", "agent_error",
  "agent_tool_call", "agent_session_compacted", "collection_op", "sql_query", "sql_begin", "sql_exec", "sql_commit",
  "sql_rollback", "self_action", "storage_upload",
]);
const HANDLERS = ["rpc", "onStart", "onJob", "onShutdown", "onAgent"];

const encoder = new TextEncoder();
const request = new AsyncLocalStorage(); // the id of the request being served
const waiting = new Map(); // what we asked of the host, by id
const runs = new Map(); // tool calls that wait, by invoke id and call id
const about = { appId: Deno.env.get("ROOTCX_APP_ID"), runtimeUrl: Deno.env.get("ROOTCX_RUNTIME_URL"), credentials: {} };

let handlers = null;
let asked = 0;

// Speaking.

function write(line) {
  let bytes = encoder.encode(`\n${line}\n`); // the app may have written a part of a line itself; empty ones are ignored
  while (bytes.length) bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
}

function say(message) {
  const line = JSON.stringify(message).replace(HALF, "$1\ufffd");
  if (line.length > LINE_BYTES_MAX / 4 && encoder.encode(line).length >= LINE_BYTES_MAX) {
    throw new Error(`a message of more than ${LINE_BYTES_MAX} bytes`);
  }
  write(line);
}

function said(problem) {
  const text = String(problem?.message || problem?.name || problem);
  return text.length > ERROR_CHARS_MAX ? text.slice(0, ERROR_CHARS_MAX) : text;
}

const LEVELS = { log: "info", info: "info", warn: "warn", error: "error", debug: "debug", trace: "debug" };

function logged(level, parts) {
  const message = format(...parts);
  if (!handlers && parts.length === 1 && spoken(message)) write(message); // it speaks the protocol itself
  else say({ type: "log", level, message: message.length > 8192 ? message.slice(0, 8192) : message });
}

function spoken(text) {
  if (!text.startsWith("{") || text.includes("\n")) return false;
  try {
    return SPOKEN.has(JSON.parse(text).type);
  } catch {
    return false;
  }
}

for (const [name, level] of Object.entries(LEVELS)) console[name] = (...parts) => logged(level, parts);

const log = Object.fromEntries(["info", "warn", "error", "debug"].map((level) => [level, (...parts) => logged(level, parts)]));

function emit(name, data) {
  say({ type: "event", name, data: data ?? null });
}

// Asking the host. What is asked belongs to the request it is asked in: it is done with that caller's rights.

function ask(message) {
  const id = `w${++asked}`;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    try {
      say({ type: message.type, id, request_id: request.getStore(), ...message });
    } catch (problem) {
      waiting.delete(id);
      reject(problem);
    }
  });
}

function answered(message) {
  const asker = waiting.get(message.id);
  if (!asker) return;
  waiting.delete(message.id);
  if (typeof message.error === "string") asker.reject(new Error(message.error));
  else asker.resolve(message);
}

function collection(entity) {
  const op = async (name, data) => (await ask({ type: "collection_op", op: name, entity, data })).result ?? null;
  return {
    insert: (data) => op("insert", data),
    update: (idOrData, data) => op("update", typeof idOrData === "string" ? { ...data, id: idOrData } : idOrData),
    find: (where = {}) => op("find", where),
    list: (where = {}) => op("list", where),
    findOne: (where = {}) => op("findOne", where),
  };
}

async function sql(text, params = []) {
  const { columns, rows, row_count } = await ask({ type: "sql_query", sql: text, params });
  return { columns, rows, rowCount: row_count };
}

async function selfAction(action, params) {
  return (await ask({ type: "self_action", action, params })).result ?? null;
}

async function uploadFile(content, name, type = "application/octet-stream") {
  const body = typeof content === "string" ? encoder.encode(content) : new Uint8Array(await new Blob([content]).arrayBuffer());
  const { url } = await ask({ type: "storage_upload", name, content_type: type, size: body.byteLength });
  const answer = await fetch(url, { method: "POST", body, headers: { "content-type": type } });
  if (!answer.ok) throw new Error(`the file was not taken: ${answer.status} ${(await answer.text()).slice(0, 200)}`);
  return (await answer.json()).file_id;
}

const context = () => ({
  ...about,
  log,
  emit,
  sql,
  collection,
  uploadFile,
  selfAction,
  action: (actionName, input) => selfAction("triggerAction", { actionName, input }),
  callIntegration: (integrationId, action, input, asUser) =>
    selfAction("call_integration", { integrationId, action, input, asUser }),
});

// Being asked.

async function serveRpc({ id, method, params, caller }) {
  try {
    const methods = handlers.rpc;
    if (!methods || !Object.hasOwn(methods, method) || typeof methods[method] !== "function") {
      throw new Error(`unknown method: ${method}`);
    }
    say({ type: "rpc_response", id, result: (await methods[method](params, caller, context())) ?? null });
  } catch (problem) {
    say({ type: "rpc_response", id, error: said(problem) });
  }
}

async function serveJob({ id, payload, caller }) {
  try {
    const result = handlers.onJob ? await handlers.onJob(payload, caller, context()) : { ok: true };
    say({ type: "job_result", id, result: result ?? null });
  } catch (problem) {
    say({ type: "job_result", id, error: said(problem) });
  }
}

async function serveAgent({ invoke_id, caller, ...invocation }) {
  const calls = new Map();
  runs.set(invoke_id, calls);
  const tool = (tool_name, args = {}) =>
    new Promise((resolve, reject) => {
      const call_id = crypto.randomUUID();
      calls.set(call_id, { resolve, reject });
      say({ type: "agent_tool_call", invoke_id, call_id, tool_name, args });
    });
  const agent = {
    chunk: (delta) => say({ type: "agent_chunk", invoke_id, delta }),
    compacted: (summary) => say({ type: "agent_session_compacted", invoke_id, summary }),
    tool,
  };
  try {
    if (!handlers.onAgent) {
      say({ type: "agent_error", invoke_id, error: "this app runs no agent", unsupported: true });
      return;
    }
    const done = await handlers.onAgent(invocation, caller, { ...context(), agent });
    const { response, tokens } = typeof done === "string" ? { response: done } : done ?? {};
    say({ type: "agent_done", invoke_id, response: response ?? "", tokens: tokens ?? null });
  } catch (problem) {
    say({ type: "agent_error", invoke_id, error: said(problem) });
  } finally {
    runs.delete(invoke_id);
  }
}

function toolAnswered({ invoke_id, call_id, result, error }) {
  const call = runs.get(invoke_id)?.get(call_id);
  if (!call) return;
  runs.get(invoke_id).delete(call_id);
  if (typeof error === "string") call.reject(new Error(error));
  else call.resolve(result ?? null);
}

async function discovered(message) {
  about.appId = message.app_id;
  about.runtimeUrl = message.runtime_url;
  about.credentials = message.credentials ?? {};
  about.agentConfig = message.agent_config;
  say({ type: "discover", protocol: 2, methods: Object.keys(handlers.rpc ?? {}) });
  try {
    if (message.run_onstart && handlers.onStart) await request.run("start", () => handlers.onStart(context()));
  } catch (problem) {
    log.error(`onStart failed: ${said(problem)}`);
  }
  say({ type: "ready" });
}

async function leave() {
  try {
    await handlers.onShutdown?.();
  } finally {
    Deno.exit(0);
  }
}

function heard(message) {
  switch (message.type) {
    case "discover":
      return discovered(message);
    case "rpc":
      return request.run(message.id, () => serveRpc(message));
    case "job":
      return request.run(message.id, () => serveJob(message));
    case "agent_invoke":
      return request.run(message.invoke_id, () => serveAgent(message));
    case "agent_tool_result":
      return toolAnswered(message);
    case "shutdown":
      return leave();
    default:
      return answered(message);
  }
}

async function listen() {
  const decoder = new TextDecoderStream();
  Deno.stdin.readable.pipeTo(decoder.writable).catch(() => {});
  let rest = "";
  for await (const part of decoder.readable) {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) heard(JSON.parse(line));
  }
  await leave(); // the host is gone
}

function serve(given, more) {
  if (handlers) throw new Error("serve may be called once");
  const structured = given && HANDLERS.some((name) => name in given);
  handlers = structured ? given : { ...more, rpc: given };
  if (!structured && !more) log.warn("serve(methods) is deprecated: call serve({ rpc: methods })");
  listen();
}

let loaded = false; // the app's own modules; what fails in them is fatal
addEventListener("load", () => (loaded = true));
addEventListener("unhandledrejection", (event) => {
  if (!loaded) return;
  event.preventDefault(); // one request's mistake, and others are being served
  log.error(`unhandled rejection: ${event.reason?.stack ?? event.reason}`);
});

Object.assign(globalThis, { serve, log, emit, uploadFile });

// What apps written for Bun reach for most.
globalThis.Bun ??= {
  env: new Proxy({}, { get: (_, name) => (typeof name === "string" ? Deno.env.get(name) : undefined) }),
  stdin: { stream: () => Deno.stdin.readable, text: () => new Response(Deno.stdin.readable).text() },
  stdout: Deno.stdout,
  stderr: Deno.stderr,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  file: (path) => ({ text: () => Deno.readTextFile(path), json: async () => JSON.parse(await Deno.readTextFile(path)) }),
  write: async (target, content) => {
    const bytes = typeof content === "string" ? encoder.encode(content) : new Uint8Array(content);
    if (typeof target === "string") await Deno.writeFile(target, bytes);
    else for (let rest = bytes; rest.length; ) rest = rest.subarray(target.writeSync(rest));
    return bytes.length;
  },
};
