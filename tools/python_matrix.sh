#!/usr/bin/env bash
# The wheel in a new environment of every supported Python that this machine has (3.10 to 3.13), and its smoke test there.
# Pythons are looked for on PATH and below $PYENV_ROOT. usage: python_matrix.sh WHEEL FOLDER
set -euo pipefail
wheel=$(realpath "$1") folder=$2
here=$(cd "$(dirname "$0")/.." && pwd)
failed=()
for minor in 10 11 12 13; do
    found=$(command -v "python3.$minor" || true)
    # pyenv's shims are there for versions that are not chosen, too, and then fail.
    if [ -z "$found" ] || ! "$found" -c "" 2>/dev/null; then
        found=$(find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -path "*/3.$minor.*/bin/python3.$minor" 2>/dev/null | sort -V | tail -1)
    fi
    if [ -z "$found" ]; then
        echo "Python 3.$minor: not on this machine"
        continue
    fi
    place=$folder/py3$minor
    rm -rf "$place"
    mkdir -p "$place/smoke"
    if "$found" -m venv "$place/venv" &&
        "$place/venv/bin/python" -m pip install --quiet --quiet --constraint "$here/constraints.txt" "$wheel" &&
        "$here/tools/smoke_test.sh" "$place/venv/bin/python" "$(realpath "$place/smoke")" >"$place/smoke.log" 2>&1; then
        echo "Python 3.$minor: passed"
        rm -rf "$place/venv"
    else
        tail -20 "$place/smoke.log" 2>/dev/null || true
        echo "Python 3.$minor: failed"
        failed+=("3.$minor")
    fi
done
[ ${#failed[@]} -eq 0 ]
