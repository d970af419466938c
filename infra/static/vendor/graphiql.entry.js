// What site/graphql.js takes from the packages; refresh.sh bundles it into graphiql.js.
export { GraphiQL } from "graphiql";
export { getOperationAST } from "graphql";
export { createClient } from "graphql-ws";
export { createElement } from "react";
export { createRoot } from "react-dom/client";
