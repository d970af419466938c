// The REST documentation: a list of all operations, and Swagger UI for those of one tag. Swagger UI takes many seconds to
// open an operation of a description with hundreds of them; of a small one it takes none.

import "./account.js";
import { element } from "./element.js";
import { excerpt, operations } from "./excerpt.js";
import { accessToken, onChange } from "./session.js";

const [choice, find, count, list, about] = ["description", "find", "count", "operations", "about"].map((id) =>
  document.getElementById(id),
);
const SCROLL_WITHIN_MS = 5000; // after that the reader may be elsewhere
const dark = matchMedia("(prefers-color-scheme: dark)");

let shown = { href: null, description: null, tag: null };
let given = null; // the session's token that Swagger UI has

const ui = SwaggerUIBundle({
  dom_id: "#swagger",
  spec: {},
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  validatorUrl: null,
  requestInterceptor: renewed,
});

// The address of what is shown is #<description>/<operation>.

const nameOf = (href) => href.split("/").pop().replace(/\.json$/, "");
const addressOf = (href, id) => `#${nameOf(href)}/${encodeURIComponent(id)}`;

function asked() {
  const [name, id] = location.hash.slice(1).split("/");
  const option = [...choice.options].find(({ value }) => nameOf(value) === name) ?? choice.options[0];
  return { href: option.value, id: id && decodeURIComponent(id) };
}

async function show() {
  const { href, id } = asked();
  if (href !== shown.href) {
    const description = await (await fetch(href)).json();
    if (href !== asked().href) return; // another one was chosen meanwhile
    shown = { href, description, tag: null };
    choice.value = href;
    introduce(shown);
    fill(shown);
  }
  const all = operations(shown.description);
  const operation = all.find((each) => each.id === id);
  const tag = (operation ?? all[0])?.tag;
  if (tag !== shown.tag) {
    shown.tag = tag;
    ui.specActions.updateSpec(JSON.stringify(excerpt(shown.description, tag, location.origin)));
    authorize();
  }
  mark(operation);
  if (operation) expand(operation);
}

function introduce({ href, description }) {
  const { title, version, description: text } = description.info;
  about.replaceChildren(
    element("h1", {}, title, element("small", {}, ` ${version}`)),
    element("p", {}, text ?? "", " ", element("a", { href }, href)),
  );
}

function expand({ id, tag }) {
  ui.layoutActions.show(["operations", tag, id], true);
  const place = CSS.escape(`operations-${tag}-${id}`.replace(/\s/g, "_")); // as Swagger UI makes it
  const until = performance.now() + SCROLL_WITHIN_MS;
  const scroll = () => {
    const block = document.getElementById(place);
    if (block?.querySelector(".responses-wrapper")) block.scrollIntoView();
    else if (performance.now() < until) requestAnimationFrame(scroll);
  };
  scroll();
}

// The list.

function fill({ href, description }) {
  const groups = Map.groupBy(operations(description), ({ tag }) => tag);
  list.replaceChildren(...[...groups].map(([tag, members]) => group(href, tag, members)));
  narrow();
}

function group(href, tag, members) {
  const size = element("span", { className: "size" }, String(members.length));
  return element("details", {}, element("summary", {}, tag, size), ...members.map((member) => link(href, member)));
}

function link(href, { method, path, id, summary }) {
  const made = element(
    "a",
    { href: addressOf(href, id), title: summary },
    element("span", { className: `method ${method}` }, method),
    element("span", { className: "path" }, ...path.split(/(?=\/)/).flatMap((step) => [step, element("wbr")])),
  );
  made.dataset.text = `${method} ${path} ${id} ${summary}`.toLowerCase();
  return made;
}

/** Leave only what the words of the search are all found in. */
function narrow() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const details of list.children) {
    const links = [...details.querySelectorAll("a")];
    for (const each of links) each.hidden = !words.every((word) => each.dataset.text.includes(word));
    const fitting = links.filter((each) => !each.hidden).length;
    details.hidden = fitting === 0;
    details.open = words.length > 0 || details.contains(list.querySelector("[aria-current]"));
    left += fitting;
  }
  count.textContent = left === 1 ? "1 operation" : `${left} operations`;
}

function mark(operation) {
  list.querySelector("[aria-current]")?.removeAttribute("aria-current");
  const current = operation && list.querySelector(`a[href="${CSS.escape(addressOf(shown.href, operation.id))}"]`);
  if (!current) return;
  current.ariaCurrent = "true";
  current.closest("details").open = true;
  current.scrollIntoView({ block: "nearest" });
}

// Signing in.

async function authorize() {
  const schemes = Object.entries(shown.description?.components?.securitySchemes ?? {});
  const bearers = schemes.filter(([, { type, scheme }]) => type === "http" && scheme === "bearer");
  const before = given;
  given = await accessToken();
  if (given === null) {
    if (before !== null) ui.authActions.logout(bearers.map(([name]) => name));
    return;
  }
  const authorized = bearers.map(([name, schema]) => [name, { name, schema, value: given }]);
  ui.authActions.authorize(Object.fromEntries(authorized));
}

/** The request with a token that is still good, if it carries the session's. */
async function renewed(request) {
  if (given !== null && request.headers?.Authorization === `Bearer ${given}`) {
    request.headers.Authorization = `Bearer ${await accessToken()}`;
  }
  return request;
}

function follow({ matches }) {
  document.documentElement.classList.toggle("dark-mode", matches);
}

follow(dark);
dark.addEventListener("change", follow);
onChange(authorize);
choice.addEventListener("change", () => (location.hash = nameOf(choice.value)));
find.addEventListener("input", narrow);
addEventListener("hashchange", show);

const catalog = await (await fetch("/.well-known/api-catalog")).json();
const descriptions = catalog.linkset.flatMap((links) => links["service-desc"]);
choice.append(...descriptions.map(({ href, title }) => element("option", { value: href }, title)));
await show();
