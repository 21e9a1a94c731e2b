// Reads a model bundle with Sigstore's own packages and verifies its signature.
//
//   node verify_bundle.js BUNDLE PUBLIC_KEY.pem
//
// Prints the statement. Exit status: 0 verified, 1 not.
"use strict";

const fs = require("node:fs");
const {
  bundleFromJSON,
  bundleToJSON,
  isBundleWithDsseEnvelope,
  isBundleWithPublicKey,
} = require("@sigstore/bundle");
const { crypto, dsse } = require("@sigstore/core");

function main([bundlePath, keyPath]) {
  const written = JSON.parse(fs.readFileSync(bundlePath, "utf8"));
  const bundle = bundleFromJSON(written);
  if (!isBundleWithDsseEnvelope(bundle) || !isBundleWithPublicKey(bundle)) {
    throw new Error("not an envelope signed by a public key");
  }
  // What the package did not understand would be missing when it writes the bundle again.
  const again = bundleToJSON(bundle);
  if (again.dsseEnvelope.payload !== written.dsseEnvelope.payload) {
    throw new Error("the payload changed on the way");
  }
  const pem = fs.readFileSync(keyPath, "utf8");
  const hint = crypto.digest("sha256", Buffer.from(pem)).toString("hex");
  if (bundle.verificationMaterial.content.publicKey.hint !== hint) {
    throw new Error("the bundle names another key");
  }
  const envelope = bundle.content.dsseEnvelope;
  const message = dsse.preAuthEncoding(envelope.payloadType, envelope.payload);
  const key = crypto.createPublicKey(pem);
  if (!crypto.verify(message, key, envelope.signatures[0].sig, "sha256")) {
    throw new Error("the signature does not verify");
  }
  process.stdout.write(envelope.payload);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  console.error(`not verified: ${error.message}`);
  process.exit(1);
}
