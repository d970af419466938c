// A certified OpenID provider, with one client and whatever account somebody names when asked to sign in.
// Arguments: its port, the client's id, its secret, its callback.
import { Provider } from "oidc-provider";

const [port, client_id, client_secret, callback] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [callback], token_endpoint_auth_method: "client_secret_basic" }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  cookies: { keys: ["only a test"] },
  pkce: { required: () => true },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@people.test`, email_verified: true, name: id }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
