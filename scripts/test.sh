#!/usr/bin/env bash
# Everything that must pass: linting, formatting, types, tests. Sets up .venv when needed.
# Arguments go to pytest, for instance: scripts/test.sh tests/training_core -k kill
set -euo pipefail
cd "$(dirname "$0")/.."
trap 'echo "test.sh: $([[ $? -eq 0 ]] && echo passed || echo FAILED) after ${SECONDS} s"' EXIT

bash scripts/setup_env.sh .venv render,dev,mnvs
export PATH="$PWD/.venv/bin:$PATH"

# As modules, because the commands beside them break when the folder is moved.
python -m ruff check .
python -m ruff format --check .
python -m mypy
python -m pytest -q "$@"
