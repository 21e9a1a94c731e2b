// Builds each island of src/ into one file; given a folder, there instead (a test compares).
import { build } from "esbuild";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../src/lodeline/server/pages/static");
// What lies in src/ itself is an island; what several share lies in a folder below.
const islands = readdirSync(join(here, "src")).filter((name) => name.endsWith(".ts"));

await build({
  entryPoints: islands.map((name) => join(here, "src", name)),
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
});
