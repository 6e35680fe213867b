// Parses every Mermaid diagram of the given Markdown files with Mermaid itself; exit 1 when one does not
// parse or there is none. Modules are looked for from the working directory: npm install mermaid jsdom.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const here = createRequire(`${process.cwd()}/`);
const { JSDOM } = here("jsdom");
// Mermaid looks for a browser as soon as it is loaded.
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import(
  pathToFileURL(`${process.cwd()}/node_modules/mermaid/dist/mermaid.core.mjs`)
);

let parsed = 0;
let failed = 0;
for (const file of process.argv.slice(2)) {
  const diagrams = readFileSync(file, "utf8").matchAll(/^```mermaid\n(.*?)^```$/gms);
  for (const [, diagram] of diagrams) {
    try {
      const { diagramType } = await mermaid.parse(diagram);
      parsed += 1;
      console.log(`ok ${file}: ${diagramType}`);
    } catch (error) {
      failed += 1;
      console.error(`${file}: ${error.message}\n${diagram}`);
    }
  }
}
process.exit(failed > 0 || parsed === 0 ? 1 : 0);
