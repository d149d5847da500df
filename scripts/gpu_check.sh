#!/usr/bin/env bash
# Everything that a GPU has to show, in one call: tests, benchmarks, one table.
#     scripts/gpu_check.sh [--minutes N] [--wheels FOLDER] [--out FOLDER] [--tiny]
# Sets up .venv where it is missing (--wheels: from a folder of wheels, without a network), runs
# tests/gpu, then bench_papr, bench_zero123 and bench_mnvs at the published sizes, each with its
# share of the N minutes (10 by default). OUT/gpu_check.json (outputs/gpu_check by default) is
# written after every part, so it holds what was measured if time runs out; OUT/gpu_check.md is the
# table. --tiny rehearses it on the CPU at toy sizes. Exit code 1 where a part failed.
set -euo pipefail
cd "$(dirname "$0")/.."

wheels='' arguments=()
while (($#)); do
    case $1 in
        --wheels)
            [[ $# -ge 2 && -d $2 ]] || { echo "error: --wheels: no folder ${2:-}" >&2; exit 2; }
            wheels=$(cd "$2" && pwd)
            shift
            ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) arguments+=("$1") ;;
    esac
    shift
done

python=${PYTHON_OF_CHECK:-.venv/bin/python}
if ! "$python" -c 'import torch' 2>/dev/null; then
    if [[ -n $wheels ]]; then
        "${PYTHON:-python3.11}" -m venv .venv
        python=.venv/bin/python
        "$python" -m pip install -qq --disable-pip-version-check --no-index --find-links "$wheels" \
            --no-build-isolation -e '.[mnvs,dev]'
    else
        bash scripts/setup_env.sh .venv mnvs,dev
    fi
fi
exec "$python" scripts/gpu_check.py ${arguments[@]+"${arguments[@]}"}
