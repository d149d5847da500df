#!/usr/bin/env bash
# The tests with the versions that jobs on the Alliance clusters run with: makes an environment of
# requirements-alliance.txt beside the usual one, checks that it holds those versions, and runs the tests.
#     scripts/test_wheelhouse.sh VENV [arguments of pytest]
#     scripts/test_wheelhouse.sh .venv-alliance -m "not slow"
# TORCH_VERSION takes another torch than the wheelhouse's, for instance one whose CPU build is at hand;
# TORCH_INDEX_URL, PIP_EXTRA_INDEX_URL and PYTHON are read as by scripts/setup_env.sh. bpy 4.2.0 may be
# found on Blender's own index only. WORKERS: processes of pytest (default: cores, at most four).
# Exit code: that of pytest, or 2 where the environment is not as it should be.
set -euo pipefail
venv=${1:?usage: scripts/test_wheelhouse.sh VENV [arguments of pytest]}
shift
venv=$(realpath -m "$venv")
cd "$(dirname "$0")/.."
trap 'echo "test_wheelhouse.sh: ended with code $? after $SECONDS s"' EXIT

mkdir -p "$venv.files"
constraints=$venv.files/constraints.txt
cp requirements-alliance.txt "$constraints.new"
[[ -z ${TORCH_VERSION:-} ]] || sed -i "s/^torch==.*/torch==$TORCH_VERSION/" "$constraints.new"
# Unchanged, it keeps setup_env.sh from installing anything a second time.
cmp -s "$constraints.new" "$constraints" && rm "$constraints.new" || mv "$constraints.new" "$constraints"

CONSTRAINTS=$constraints scripts/setup_env.sh "$venv" render,dev,mnvs
"$venv/bin/python" scripts/doctor.py --versions "$constraints" || exit 2
cores=$(nproc)
PATH="$venv/bin:$PATH" "$venv/bin/python" -m pytest -q -n "${WORKERS:-$((cores < 4 ? cores : 4))}" \
    --dist loadfile --no-loadscope-reorder "$@"
