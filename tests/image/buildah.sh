#!/usr/bin/env bash
# buildah, with the folders of an image check: IMAGE_CACHE, IMAGE_WORK and STORAGE_DRIVER.
#
# Before each command, buildah copies itself into a sealed memfd. Occasionally the kernel reports the copy as busy
# (EBUSY). Nothing has run by then, so the command is repeated.
set -uo pipefail
errors=$(mktemp -p "$IMAGE_WORK")
for left in 4 3 2 1 0; do
  code=0
  { # the mounts of `RUN --mount=type=cache` are in TMPDIR
    TMPDIR=$IMAGE_CACHE/tmp buildah --root "$IMAGE_CACHE/storage-$STORAGE_DRIVER" --runroot "$IMAGE_WORK/run" \
      --storage-driver "$STORAGE_DRIVER" "$@"
  } 2> >(tee "$errors" >&2) || code=$?
  wait $! # for tee
  [ "$code" != 0 ] && [ "$left" != 0 ] && grep --quiet 'sealing memfd copy' "$errors" || exit "$code"
  echo "buildah's copy of itself was busy: retrying" >&2
  sleep 1
done
