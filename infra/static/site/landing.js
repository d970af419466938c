// Says on the landing page whether the server is ready, and whether it still waits for its first account.

import { element } from "./element.js";

const state = document.getElementById("state");

function say(className, ...what) {
  state.classList.add(className);
  state.replaceChildren(...what);
}

try {
  const { setupRequired } = await (await fetch("/api/v1/auth/mode")).json();
  if (setupRequired) {
    const create = element("a", { href: "/graphql" }, "Create the first one");
    say("waiting", "Nobody has an account yet. ", create, ": it becomes the administrator.");
  } else {
    say("ready", "The server is ready.");
  }
} catch {
  say("broken", "The server does not answer as it should. See its log.");
}
