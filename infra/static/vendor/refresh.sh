#!/bin/sh
# Makes the files of this folder that are not ours (graphiql.js, graphiql.css, swagger-ui.js, swagger-ui.css and
# THIRD_PARTY.txt) from the packages that package.json pins and package-lock.json holds to their hashes.
# Needs Node 20 or later and npm. To take a newer release: change package.json, run `sh refresh.sh --update`,
# try the pages (tests/pages), and commit all of it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$here/package.json" "$here/graphiql.entry.js" "$here/react-remove-scroll.js" "$here/notices.js" "$work"
cd "$work"
if [ "${1:-}" = --update ]; then
    # The lock says what, not where from: each who refreshes has a registry of their own.
    npm install --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved
    cp package-lock.json "$here"
else
    cp "$here/package-lock.json" .
    npm ci --ignore-scripts --no-audit --no-fund
fi

npx --no-install esbuild graphiql.entry.js --bundle --minify --format=esm --target=es2022 --charset=utf8 \
    --alias:react-remove-scroll=./react-remove-scroll.js \
    --legal-comments=none '--define:process.env.NODE_ENV="production"' --outfile=graphiql.js --metafile=bundled.json
npx --no-install esbuild node_modules/graphiql/dist/style.css --minify --outfile=graphiql.css

# The fonts in that style sheet are most of its weight; the reader's own do as well.
node -e 'const fs = require("fs"), css = fs.readFileSync("graphiql.css", "utf8");
fs.writeFileSync("graphiql.css", css.replace(/@font-face\s*\{[^}]*\}/g, ""))'

# Source maps stay behind, so nothing may ask for them.
for kind in js css; do
    name=swagger-ui; [ $kind = css ] || name=swagger-ui-bundle
    sed 's,//# sourceMappingURL=.*,,; s,/\*# sourceMappingURL=[^*]*\*/,,' "node_modules/swagger-ui-dist/$name.$kind" \
        > "swagger-ui.$kind"
done

node notices.js bundled.json > THIRD_PARTY.txt
cp graphiql.js graphiql.css swagger-ui.js swagger-ui.css THIRD_PARTY.txt "$here"
