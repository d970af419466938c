// Who is signed in, in this tab. The tokens are in the tab's session storage and nowhere else.

const KEY = "stoa.session";
const NOTICE = "stoa.notice";
const RENEW_BEFORE_MS = 30_000;

const LOGIN = `mutation Login($name: String!, $password: String!) {
  login(name: $name, password: $password) { accessToken refreshToken expiresIn user { contact } }
}`;
const REGISTER = `mutation Register($name: String!, $password: String!) {
  register(username: $name, password: $password) { id }
}`;
const RENEW = `mutation Renew($refreshToken: String!) {
  renewAccess(refreshToken: $refreshToken) { accessToken expiresIn }
}`;
const LOGOUT = `mutation Logout($refreshToken: String!) { logout(refreshToken: $refreshToken) }`;
const MODE = `query Mode { signInMode { setupRequired } }`;

const listeners = new Set();
let session = JSON.parse(sessionStorage.getItem(KEY));
let renewal = null;

/** A request the server understood and refused. The message is for people. */
export class Refused extends Error {
  constructor({ message, extensions }) {
    super(message);
    this.code = extensions?.code;
  }
}

async function ask(query, variables) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ query, variables }),
    keepalive: true, // signing out may be followed by a new page at once
  });
  if (!response.headers.get("content-type")?.includes("json")) {
    throw new Error(`The server answered ${response.status}.`);
  }
  const { data, errors } = await response.json();
  if (errors) throw new Refused(errors[0]);
  return data;
}

function keep(next) {
  session = next;
  if (next) {
    sessionStorage.setItem(KEY, JSON.stringify(next));
    sessionStorage.removeItem(NOTICE);
  } else {
    sessionStorage.removeItem(KEY);
  }
  for (const listener of listeners) listener(account());
}

const lasting = (expiresIn) => Date.now() + expiresIn * 1000;

/** The name of the account, or null. */
export const account = () => session?.account ?? null;

/** Call `listener` with the account, whenever it or its token changes. */
export const onChange = (listener) => listeners.add(listener);

/** Whether nobody has an account yet. */
export const setupRequired = async () => (await ask(MODE)).signInMode.setupRequired;

export async function signIn(name, password) {
  const { login } = await ask(LOGIN, { name, password });
  const { accessToken, refreshToken, expiresIn, user } = login;
  keep({ account: user.contact, accessToken, refreshToken, expiresAt: lasting(expiresIn) });
}

export async function register(name, password) {
  await ask(REGISTER, { name, password });
  await signIn(name, password);
}

/** Forget the session, and have the server end it if it can be reached. */
export async function signOut() {
  const { refreshToken } = session;
  keep(null);
  await ask(LOGOUT, { refreshToken }).catch(() => {});
}

/** The server no longer takes the token. */
export function ended() {
  sessionStorage.setItem(NOTICE, "Your session has ended. Please sign in again.");
  keep(null);
}

/** What to tell the user before they sign in. It outlives a reload of the page. */
export const notice = () => sessionStorage.getItem(NOTICE) ?? "";

/** A token that is good for a while, or null. */
export function accessToken() {
  if (!session || session.expiresAt - Date.now() > RENEW_BEFORE_MS) return session?.accessToken ?? null;
  renewal ??= renew(session).finally(() => (renewal = null));
  return renewal;
}

async function renew(old) {
  try {
    const { accessToken, expiresIn } = (await ask(RENEW, { refreshToken: old.refreshToken })).renewAccess;
    if (session === old) keep({ ...old, accessToken, expiresAt: lasting(expiresIn) });
  } catch (problem) {
    if (problem.code !== "UNAUTHENTICATED") throw problem;
    if (session === old) ended();
  }
  return session?.accessToken ?? null;
}
