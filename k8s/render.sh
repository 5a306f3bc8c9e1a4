#!/usr/bin/env bash
# Prints the manifests of a run: render.sh [matrix|compare] [check] [NAME=VALUE ...] | kubectl apply -f -
# See k8s/render/__main__.py. It runs on the kit's Python, and sets that up where there is none.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
usable() { "$1" -c 'import yaml, scoreprof_nb.parameters.compare' 2> /dev/null; }
python=$root/.venv/bin/python
usable "$python" || { usable python3 && python=python3; } || make --silent --directory "$root" .venv/ready >&2
exec "$python" -m k8s.render "$@"
