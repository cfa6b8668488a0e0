// An OpenID provider: oidc-provider over TLS, whose users are whoever the browser names by `login_hint`.
//
// usage: node provider.mjs CERTIFICATE KEY
// Says {"issuer": …} at once. Then reads lines: {"client": METADATA} registers the client before the first visit.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { Provider } from "oidc-provider";

const [certificate, key] = process.argv.slice(2);
console.warn = console.info = () => {};
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `https://localhost:${server.address().port}`;

// "ann" or "ann,otp": who, and how they showed it.
const named = (hint) => {
  const [account, ...amr] = (hint ?? "nobody").split(",");
  return { account, amr };
};

function start(client) {
  const provider = new Provider(issuer, {
    clients: [client],
    cookies: { keys: ["test"] },
    claims: {
      email: ["email", "email_verified"],
      profile: ["name", "preferred_username"],
      groups: ["groups"],
      openid: ["sub", "auth_time", "amr"],
    },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        email: `${id}@example.com`,
        email_verified: !id.startsWith("unverified"),
        name: id,
        preferred_username: id,
        groups: id.startsWith("guest") ? [] : ["Requesters", "Elsewhere"],
      }),
    }),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        logoutSource: (ctx, form) => {
          ctx.body = `<!doctype html>${form}<button autofocus form="op.logoutForm" name="logout" value="yes">Out</button>`;
        },
      },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  });
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith("/interaction/")) return next();
    const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
    const { account, amr } = named(params.login_hint);
    let result = { login: { accountId: account, amr } };
    if (prompt.name === "consent") {
      const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
      grant.addOIDCScope(params.scope);
      result = { consent: { grantId: await grant.save() } };
    }
    await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
    ctx.respond = false;
  });
  server.on("request", provider.callback());
}

console.log(JSON.stringify({ issuer }));
for await (const line of createInterface({ input: process.stdin })) {
  start(JSON.parse(line).client);
  console.log("{}");
}
process.exit(0);
