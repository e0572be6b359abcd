#!/usr/bin/env bash
# All that wants a GPU, in ten minutes: bench/gpu.sh [--out FILE] [--only PART …] [--device cpu --size small]
# It needs the environment of `make setup` (or PYTHON, one that has torch and Leitstand's other packages), and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m bench.gpu "$@"
