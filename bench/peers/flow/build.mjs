// Builds the page into the folder that is given.
import { build } from "esbuild";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const out = process.argv[2];
await build({
  entryPoints: ["app.jsx"], outdir: out, bundle: true, minify: true, format: "esm", target: "es2022",
  jsx: "automatic", define: { "process.env.NODE_ENV": '"production"' }, logLevel: "warning",
});
writeFileSync(
  join(out, "index.html"),
  '<!doctype html><link rel="stylesheet" href="app.css"><style>#root{position:fixed;inset:0}</style>' +
    '<div id="root"></div><script type="module" src="app.js"></script>',
);
