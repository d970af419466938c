// Taking an OpenAPI description apart.

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace", "query"];
const REFERENCE = /"#\/components\/([^"/]+)\/([^"]+)"/g;

/** Its operations, in its order. */
export function operations({ paths }) {
  return Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const { operationId, tags = ["Other"], summary = "" } = item[method];
      return { method, path, id: operationId, tag: tags[0], summary };
    }),
  );
}

/** The description of one tag's operations only, with the components they need, served from `url`. */
export function excerpt(description, tag, url) {
  const paths = {};
  for (const { method, path } of operations(description).filter((operation) => operation.tag === tag)) {
    const operation = description.paths[path][method];
    paths[path] ??= {};
    paths[path][method] = { ...operation, tags: [tag], parameters: operation.parameters?.map(blank) };
  }
  const tags = description.tags?.filter(({ name }) => name === tag) ?? [];
  return { ...description, servers: [{ url }], tags, paths, components: reachable(paths, description.components) };
}

/** The parameter, with nothing for an example if it takes any names: Swagger UI would make some up, and send them. */
function blank(parameter) {
  const { schema = {} } = parameter;
  const open = schema.type === "object" && schema.additionalProperties;
  return open ? { ...parameter, schema: { example: {}, ...schema } } : parameter;
}

function reachable(paths, { securitySchemes = {}, ...components }) {
  const found = { securitySchemes };
  const pending = [paths];
  while (pending.length > 0) {
    for (const [, kind, escaped] of JSON.stringify(pending.pop()).matchAll(REFERENCE)) {
      const name = escaped.replaceAll("~1", "/").replaceAll("~0", "~");
      const component = components[kind]?.[name];
      if (component === undefined || found[kind]?.[name] !== undefined) continue;
      (found[kind] ??= {})[name] = component;
      pending.push(component);
    }
  }
  return found;
}
