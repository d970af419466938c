// The account's corner of the bar: a form to sign in (or to create the first account), or who is signed in.

import { element } from "./element.js";
import { account, notice, onChange, register, setupRequired, signIn, signOut } from "./session.js";

const place = document.getElementById("account");
let first = false;

function form() {
  const autocomplete = first ? "new-password" : "current-password";
  const placeholder = first ? "User name" : "User name or e-mail";
  const name = field({ name: "name", placeholder, autocomplete: "username" });
  const password = field({ name: "password", placeholder: "Password", type: "password", autocomplete });
  const button = element("button", { className: "button first" }, first ? "Create account" : "Sign in");
  const refusal = element("p", { className: "refusal", role: "alert" }, notice());
  const made = element("form", { className: "account" }, refusal, name, password, button);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    refusal.textContent = "";
    try {
      await (first ? register : signIn)(name.value.trim(), password.value);
    } catch (problem) {
      refusal.textContent = problem.message;
      password.select();
    }
    button.disabled = false;
  });
  return made;
}

function field(properties) {
  return element("input", { className: "field", required: true, ariaLabel: properties.placeholder, ...properties });
}

function greeting(name) {
  const button = element("button", { className: "button", type: "button", onclick: signOut }, "Sign out");
  return element("div", { className: "account" }, element("p", {}, "Signed in as ", element("b", {}, name)), button);
}

let shown;

function show(name) {
  if (name !== null && name === shown) return; // only the token is new
  shown = name;
  first &&= name === null;
  place.replaceChildren(name === null ? form() : greeting(name));
}

show(account());
onChange(show);

/** Whether the form creates the first account. */
export const createsFirst = account() === null ? askWhetherFirst() : Promise.resolve(false);

async function askWhetherFirst() {
  first = await setupRequired().catch(() => false);
  if (first && account() === null) show(null);
  return first;
}
