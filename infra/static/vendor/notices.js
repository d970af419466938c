// Prints the notices of everything refresh.sh takes: the packages in the bundle that esbuild tells of, and Swagger UI.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const TEXTS = /^(licen[cs]e|copying|notice)/i;
const [bundled] = process.argv.slice(2);
const inputs = Object.keys(JSON.parse(readFileSync(bundled, "utf8")).inputs);

// A package inside another one has its own folder below that one's, so the last `node_modules/` counts.
const folders = new Set(inputs.map((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]).filter(Boolean));
folders.add("node_modules/swagger-ui-dist");

function notice(folder) {
  const { name, version, license, author } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const texts = readdirSync(folder)
    .filter((file) => TEXTS.test(file) || file === "swagger-ui-bundle.js.LICENSE.txt")
    .sort()
    .map((file) => readFileSync(join(folder, file), "utf8").trim());
  const by = typeof author === "object" ? author.name : author;
  return { title: `${name} ${version} (${license})`, text: texts.join("\n\n") || `By ${by ?? "its authors"}; no licence text comes with it.` };
}

// Families of packages share a text, which is then printed once.
const sharing = new Map();
for (const { title, text } of [...folders].sort().map(notice)) {
  sharing.set(text, [...(sharing.get(text) ?? []), title]);
}

console.log("What the files graphiql.js, graphiql.css, swagger-ui.js and swagger-ui.css contain, and under which terms.");
for (const [text, titles] of sharing) {
  console.log(`\n${"=".repeat(100)}\n${titles.join("\n")}\n${"-".repeat(100)}\n${text}`);
}
