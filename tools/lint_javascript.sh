#!/usr/bin/env bash
# Lint and format check of the pages' JavaScript (biome); with --fix it writes what it can mend.
# The tools are those that tools/javascript/package.json names, installed by npm on the first run.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=tools/javascript
if ! command -v npm >/dev/null; then
    echo "JavaScript is not linted: there is no npm (install nodejs and npm)"
    exit 0
fi
if [ ! -e "$tools/node_modules/.done" ] || [ "$tools/package.json" -nt "$tools/node_modules/.done" ]; then
    if ! npm install --prefix "$tools" --no-package-lock --no-audit --no-fund --silent; then
        echo "JavaScript is not linted: npm could not install what $tools/package.json names"
        exit 0
    fi
    touch "$tools/node_modules/.done"
fi
checked=(src/anomalib_zsad/pages/scripts tests/pages/scripts)
biome=("$tools/node_modules/.bin/biome" check --config-path="$tools" --error-on-warnings)
if [ "${1:-}" = --fix ]; then biome+=(--write); fi
"${biome[@]}" "${checked[@]}"
