#!/usr/bin/env bash
# Checks image, buckets and model in a Pod without a TPU, then starts the run: start.sh [matrix|compare] [NAME=VALUE ...]
#
# The arguments are those of render.sh. Kubernetes has no limit on the time until a container starts: without
# the check, an image that cannot be pulled or a bucket that cannot be mounted would keep a TPU node until the
# Pod's deadline. If the check fails, its reason is printed, no TPU is asked for, and the exit code is 42.
set -euo pipefail
here=$(dirname "$0")
poll_s=${SCOREPROF_POLL_S:-5}
variant=()
case ${1:-} in matrix | compare) variant=("$1"); shift ;; esac
run=$(date -u +%Y%m%d-%H%M%S)-$(printf '%04x' "$RANDOM")
check=$(bash "$here/render.sh" "${variant[@]}" check RUN="$run" "$@")
job=$(bash "$here/render.sh" "${variant[@]}" RUN="$run" "$@")
of_check() { sed -n "s/^  $1: //p" <<< "$check" | head -1; }
name=$(of_check name)
in_namespace() { kubectl --namespace "$(of_check namespace)" "$@"; }
condition() { in_namespace get job "$name" -o "jsonpath={.status.conditions[?(@.type==\"$1\")].status}"; }

echo "checking: job/$name" >&2
kubectl apply -f - <<< "$check" >&2
until [ "$(condition Complete)" = True ]; do
  if [ "$(condition Failed)" = True ]; then
    in_namespace get events --field-selector type=Warning --sort-by=.lastTimestamp | grep -F "$name" >&2 || true
    in_namespace logs "job/$name" >&2 || true
    echo "start.sh: the check failed (above); docs/troubleshooting.md lists the reasons. No TPU was asked for." >&2
    exit 42
  fi
  sleep "$poll_s"
done
kubectl apply -f - <<< "$job"
