#!/usr/bin/env bash
# Fetches the viewer of the report again from npm: the pinned version's browser build, and the licences of the packages bundled in it.
# `git diff` then shows whether anything changed. NiiVue's own licence (niivue.LICENSE.txt) is not in its package; it comes from its repository.
set -euo pipefail
cd "$(dirname "$0")"
version=0.69.0

aside=$(mktemp -d)
trap 'rm -r "$aside"' EXIT
npm install --prefix "$aside" --ignore-scripts --omit=optional --no-audit --no-fund "@niivue/niivue@$version" >&2
cp "$aside/node_modules/@niivue/niivue/dist/niivue.umd.js" niivue.umd.js

cd "$aside/node_modules"
for package in $(find . -name package.json -path './*' | sed 's|^\./||; s|/package.json$||' | grep -vE '^@niivue/|/(node_modules|src|dist|cjs|esm)(/|$)' | LC_ALL=C sort); do
    licence=$(find "$package" -maxdepth 1 -iname 'licen[cs]e*' | head -n 1)
    [ -n "$licence" ] || continue
    printf '== %s ==\n\n' "$package"
    cat "$licence"
    printf '\n'
done > "$OLDPWD/niivue.bundled-LICENSES.txt"
cd "$OLDPWD"
sha256sum niivue.umd.js > niivue.umd.js.sha256
echo "NiiVue $version: $(cut -c 1-16 niivue.umd.js.sha256)..."
