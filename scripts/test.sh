#!/usr/bin/env bash
# Everything that must pass: linting, formatting, types, tests. Sets up .venv when needed.
# Arguments go to pytest, for instance: scripts/test.sh tests/training_core -k kill
# Every day, without the tests that take more than ten seconds: scripts/test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
trap 'echo "test.sh: $([[ $? -eq 0 ]] && echo passed || echo FAILED) after ${SECONDS} s"' EXIT

bash scripts/setup_env.sh .venv render,dev,docs,mnvs
export PATH="$PWD/.venv/bin:$PATH"
# Compiled modules are kept, whatever the shell says: tests start hundreds of processes, each of
# which would compile every module again.
unset PYTHONDONTWRITEBYTECODE

# As modules, because the commands beside them break when the folder is moved.
python -m ruff check .
python -m ruff format --check .
python -m mypy
# The documentation, README included, must build without a warning.
python -m sphinx -W -q -c docs/site docs outputs/site
# A process a core, whole files to each, because tests of a file share what is slow to make; in the
# order of tests/conftest.py, which puts the longest files first. More than four processes would
# want more memory than a laptop has.
cores=$(nproc)
python -m pytest -q -n $((cores < 4 ? cores : 4)) --dist loadfile --no-loadscope-reorder "$@"
