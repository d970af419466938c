// PostGraphile as its documentation has it in production: the recommended preset, no explain, no GraphiQL, no watching.
// A caller's JWT is verified by us, and becomes the role of the transaction: the least that "signed in" can mean.
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

const { BENCH_DATABASE, BENCH_SCHEMAS, BENCH_CONNECTIONS, BENCH_SECRET } = process.env;

function settingsOf(authorization) {
  const claims = jwt.verify(authorization.slice("Bearer ".length), BENCH_SECRET, { algorithms: ["HS256"] });
  return { role: claims.role };
}

const preset = {
  extends: [PostGraphileAmberPreset],
  pgServices: [
    makePgService({
      connectionString: BENCH_DATABASE,
      schemas: BENCH_SCHEMAS.split(","),
      poolConfig: { max: Number(BENCH_CONNECTIONS) },
    }),
  ],
  grafast: {
    explain: false,
    context: (request) => ({ pgSettings: settingsOf(request.node.req.headers.authorization) }),
  },
  grafserv: { graphiql: false, watch: false },
};

const server = createServer();
await postgraphile(preset).createServ(grafserv).addTo(server);
server.listen(0, "127.0.0.1", () => console.log(`ready ${server.address().port}`));
