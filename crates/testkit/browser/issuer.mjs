// Issuers of workload tokens over TLS, as a CI or a Kubernetes cluster has one: what they say of themselves, their keys, and tokens.
//
// usage: node issuer.mjs CERTIFICATE KEY
// Says {"issuers": {"ci": …, "people": …}} at once. Then reads lines:
//   {"sign": {"issuer": NAME, "claims": {…}, "header"?: {…}, "by"?: "rsa" | "ec" | "foreign" | "hmac" | "nobody"}} answers {"token": …}
//   {"behave": {"issuer": NAME, "jwks_uri"?: …, "redirect"?: bool, "large"?: bool, "silent"?: bool}} answers {"asked": COUNT}

import { createHmac, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [certificate, key] = process.argv.slice(2);
const tls = { cert: readFileSync(certificate), key: readFileSync(key) };
const encode = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = () => generateKeyPairSync("ec", { namedCurve: "P-256" });
const foreign = rsa();

async function open(name) {
  const keys = { rsa: rsa(), ec: ec() };
  const jwk = (id, alg) => ({ ...keys[id].publicKey.export({ format: "jwk" }), kid: `${name}-${id}`, use: "sig", alg });
  const state = { behaviour: {}, asked: 0 };
  const server = createServer(tls, (request, response) => {
    state.asked += 1;
    const { jwks_uri, redirect, large, silent } = state.behaviour;
    if (silent) return;
    const issuer = `https://localhost:${server.address().port}`;
    const answer = (body) => response.setHeader("content-type", "application/json").end(JSON.stringify(body));
    if (request.url === "/.well-known/openid-configuration") {
      answer({ issuer, jwks_uri: jwks_uri ?? `${issuer}/jwks`, response_types_supported: ["id_token"] });
    } else if (request.url === "/jwks" && redirect) {
      response.writeHead(302, { location: `${issuer}/elsewhere` }).end();
    } else {
      const padding = large ? { padding: "x".repeat(300_000) } : {};
      answer({ keys: [jwk("rsa", "RS256"), jwk("ec", "ES256")], ...padding });
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { name, keys, state, issuer: `https://localhost:${server.address().port}` };
}

function signed({ name, keys }, { claims, header = {}, by = "rsa" }) {
  const algorithms = { rsa: "RS256", ec: "ES256", foreign: "RS256", hmac: "HS256", nobody: "none" };
  const kid = `${name}-${by === "ec" ? "ec" : "rsa"}`;
  const text = `${encode({ typ: "JWT", alg: algorithms[by], kid, ...header })}.${encode(claims)}`;
  const pair = { ...keys, foreign }[by]?.privateKey;
  const published = () => createPublicKey(keys.rsa.privateKey).export({ format: "pem", type: "spki" });
  const signature = {
    rsa: () => sign("sha256", Buffer.from(text), pair),
    ec: () => sign("sha256", Buffer.from(text), { key: pair, dsaEncoding: "ieee-p1363" }),
    foreign: () => sign("sha256", Buffer.from(text), pair),
    hmac: () => createHmac("sha256", published()).update(text).digest(),
    nobody: () => Buffer.alloc(0),
  }[by]();
  return `${text}.${signature.toString("base64url")}`;
}

const issuers = { ci: await open("ci"), people: await open("people") };
const names = Object.fromEntries(Object.entries(issuers).map(([name, { issuer }]) => [name, issuer]));
console.log(JSON.stringify({ issuers: names }));
for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  if (call.sign) {
    console.log(JSON.stringify({ token: signed(issuers[call.sign.issuer], call.sign) }));
  } else {
    const { state } = issuers[call.behave.issuer];
    state.behaviour = call.behave;
    console.log(JSON.stringify({ asked: state.asked }));
  }
}
process.exit(0);
