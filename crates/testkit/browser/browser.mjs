// A browser with an authenticator of its own: makes and uses passkeys on a page of the service, and visits other pages.
//
// usage: node browser.mjs PROGRAM URL
// Reads a line for each call, {"create": OPTIONS} or {"get": OPTIONS}, and answers it with a line: {"credential": …} as
// PublicKeyCredential.toJSON gives it, or {"error": NAME}. {"visit": URL} goes to a page and tells where it ended and what stands
// there; {"press": SELECTOR} presses a button on it.

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
await devtools.send("WebAuthn.addVirtualAuthenticator", { options });

async function visit(go) {
  // Where nobody listens, the address is what matters.
  await go().catch(() => {});
  return { url: elsewhere.url(), text: await elsewhere.innerText("body").catch(() => "") };
}

const elsewhere = await page.context().newPage();
let last = "";
elsewhere.on("request", (request) => request.isNavigationRequest() && (last = request.url()));

async function answer(call) {
  if (call.visit) return { ...(await visit(() => elsewhere.goto(call.visit))), last };
  if (call.press) {
    const go = () => Promise.all([elsewhere.waitForNavigation(), elsewhere.click(call.press)]);
    return { ...(await visit(go)), last };
  }
  await page.bringToFront();
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
