// A mail server that keeps what it takes.
//
// usage: node mailbox.mjs tls|starttls|plain|injecting CERTIFICATE KEY PORT
// Says {"port": …} at once; port 0 takes a free one. Then reads lines:
//   {"mails": true}                       what came: from, to, user, secure, text
//   {"fail": {"at": "data", "code": 451}} fails from now on at auth, mail, rcpt or data, with this code; null: takes all again
//   {"fail": {"at": "answer"}}            keeps what comes, and never answers
//
// "injecting" is "starttls" behind somebody who puts answers in the clear behind the answer to STARTTLS.
// "plain" offers no STARTTLS. Who signs in must be "clm" with "a password of the mail server".

import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { SMTPServer } from "smtp-server";

const [mode, certificate, key, port] = process.argv.slice(2);
const mails = [];
let fail = null;

const outcome = (at) => {
  if (fail?.at !== at) return null;
  const error = new Error(fail.text ?? "not now");
  error.responseCode = fail.code;
  return error;
};

const server = new SMTPServer({
  secure: mode === "tls",
  hideSTARTTLS: mode === "plain",
  cert: readFileSync(certificate),
  key: readFileSync(key),
  authOptional: true,
  logger: false,
  onAuth(auth, session, done) {
    const isRight = auth.username === "clm" && auth.password === "a password of the mail server";
    done(outcome("auth") ?? (isRight ? null : new Error("wrong")), { user: auth.username });
  },
  onMailFrom(address, session, done) {
    done(outcome("mail"));
  },
  onRcptTo(address, session, done) {
    done(outcome("rcpt"));
  },
  onData(stream, session, done) {
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => {
      const error = outcome("data");
      if (error) return done(error);
      mails.push({
        from: session.envelope.mailFrom.address,
        to: session.envelope.rcptTo.map((to) => to.address),
        user: session.user ?? null,
        secure: session.secure,
        text: Buffer.concat(parts).toString("utf8"),
      });
      if (fail?.at !== "answer") done();
    });
  },
});
server.on("error", () => {});
const isBehind = mode === "injecting";
await new Promise((done) => server.listen(isBehind ? 0 : Number(port), "127.0.0.1", done));

const injecting = createServer((client) => {
  const inner = connect(server.server.address().port, "127.0.0.1");
  client.pipe(inner);
  inner.on("data", (part) => {
    const isReady = part.toString("latin1").startsWith("220") && inner.greeted;
    inner.greeted = true;
    client.write(isReady ? Buffer.concat([part, Buffer.from("250-localhost\r\n250 AUTH PLAIN\r\n")]) : part);
  });
  inner.on("close", () => client.destroy());
  for (const end of [client, inner]) end.on("error", () => {});
});
if (isBehind) await new Promise((done) => injecting.listen(Number(port), "127.0.0.1", done));

console.log(JSON.stringify({ port: (isBehind ? injecting : server.server).address().port }));
for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  if ("fail" in call) fail = call.fail;
  console.log(JSON.stringify({ mails }));
}
process.exit(0);
