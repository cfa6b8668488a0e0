// A browser with an authenticator of its own: makes and uses passkeys on a page of the service.
//
// usage: node passkeys.mjs PROGRAM URL
// Reads a line for each call, {"create": OPTIONS} or {"get": OPTIONS}, and answers it with a line: {"credential": …} as
// PublicKeyCredential.toJSON gives it, or {"error": NAME}. {"forget": true} takes another authenticator.

import { createInterface } from "node:readline";
import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";

const [program, url] = process.argv.slice(2);
const executablePath = execFileSync("which", [program], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--ignore-certificate-errors"] });
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
await page.goto(url);
const devtools = await page.context().newCDPSession(page);
await devtools.send("WebAuthn.enable");
const options = {
  protocol: "ctap2",
  transport: "internal",
  hasResidentKey: true,
  hasUserVerification: true,
  isUserVerified: true,
  automaticPresenceSimulation: true,
};
let { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options });

async function answer(call) {
  if (call.forget) {
    await devtools.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId });
    ({ authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options }));
    return {};
  }
  return page.evaluate(async (call) => {
    try {
      const credential = call.create
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(call.create) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(call.get) });
      return { credential: credential.toJSON() };
    } catch (error) {
      return { error: error.name, message: error.message };
    }
  }, call);
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await browser.close();
