#!/usr/bin/env bash
# Builds docker/Dockerfile.profiling without a Docker engine, looks at the image, and runs the Job's Pods in it
# (test_job_in_image.py), as `make image-check`, as root.
#
# Nothing comes from an image registry or a git host. The base image is built with debootstrap and this
# machine's Python 3.12. The branches are made from the source of sglang-jax 0.0.2 on PyPI, in a local git
# repository. The base, the layers and the downloads are kept in $SCOREPROF_IMAGE_CACHE (default:
# scoreprof-nb/image in the user's cache). Remove that folder to start afresh.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$(command -v python3.12 || command -v python3)}
cache=${SCOREPROF_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scoreprof-nb/image}

[ "$(id -u)" = 0 ] || { echo "image-check: needs root, for debootstrap and buildah"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' \
  || { echo "image-check: needs Python 3.12: make image-check PYTHON=/path/to/python3.12"; exit 1; }
[ -x "$root/.venv/bin/python" ] || { echo "image-check: no .venv: use make image-check"; exit 1; }
for program in buildah debootstrap bindfs; do
  command -v "$program" > /dev/null \
    || { apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$program" > /dev/null; }
done

work=$(mktemp -d)
mkdir -p "$cache/tmp"
exec 9> "$cache/lock"
flock --nonblock 9 || { echo "image-check: another image-check is running in $cache"; exit 1; }
# With vfs each layer is a full copy, tens of gigabytes in all. So layers are kept only with overlay, and not
# in CI, where no later build would use them.
driver=vfs
layers=()
mkdir "$work/lower" "$work/upper" "$work/work" "$work/merged"
if mount -t overlay overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" "$work/merged" 2> /dev/null; then
  umount "$work/merged"
  driver=overlay
  [ "${CI:-}" = true ] || layers=(--layers)
fi
image=localhost/score-profiler:check
budget_mb=4500 # uncompressed, with two servers: each has JAX and libtpu
base=localhost/scoreprof-base:3.12
container=
export IMAGE_CACHE=$cache IMAGE_WORK=$work STORAGE_DRIVER=$driver
buildah_() { bash "$root/tests/image/buildah.sh" "$@"; }
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
cleanup() {
  [ -z "$container" ] || buildah_ rm "$container" > /dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

make_base() {
  local system=$work/base
  local libraries=ca-certificates,libbz2-1.0,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,zlib1g
  debootstrap --variant=minbase --include=$libraries bookworm "$system" > "$work/debootstrap.log" 2>&1 \
    || { tail -20 "$work/debootstrap.log"; exit 1; }
  tar --create --exclude=site-packages --exclude=test --exclude=__pycache__ \
    --directory "$("$python" -c 'import sys; print(sys.base_prefix)')" . \
    | tar --extract --no-same-owner --directory "$system/usr/local"
  ln -sf python3.12 "$system/usr/local/bin/python"
  chroot "$system" ldconfig # for libpython
  chroot "$system" /usr/local/bin/python -c 'import bz2, ctypes, lzma, readline, sqlite3, ssl, zlib' \
    || { echo "image-check: $python does not run on Debian bookworm"; exit 1; }
  # How this machine reaches package indexes. It stays in this local base image.
  apt-config dump | grep -E '^Acquire::[A-Za-z:]*(Proxy|Check)' > "$system/etc/apt/apt.conf.d/99local" || true
  [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$system/etc/pip.conf"
  cp /usr/local/share/ca-certificates/*.crt "$system/usr/local/share/ca-certificates/" 2> /dev/null || true
  chroot "$system" update-ca-certificates > /dev/null
  container=$(buildah_ from scratch)
  buildah_ add --quiet "$container" "$system" / > /dev/null
  buildah_ config --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah_ commit --quiet --rm "$container" "$base" > /dev/null
  container=
  rm -rf "$system"
}

# With fixed dates the commits are always the same, and so their layers can be reused.
commit_all() {
  git -C "$work/repo" add .
  GIT_AUTHOR_DATE=2025-10-01T00:00:00Z GIT_COMMITTER_DATE=2025-10-01T00:00:00Z \
    git -C "$work/repo" -c user.name=check -c user.email=check@example.org commit --quiet --message "$1"
  git -C "$work/repo" rev-parse HEAD
}

make_branches() {
  "$python" -m pip download --quiet --no-deps --no-binary :all: --dest "$work" sglang-jax==0.0.2
  mkdir -p "$work/repo/python"
  tar --extract --file "$work/sglang_jax-0.0.2.tar.gz" --directory "$work/repo/python" --strip-components 1
  git -C "$work/repo" init --quiet --initial-branch serving-fixes
  commit=$(commit_all 0.0.2)
  git -C "$work/repo" checkout --quiet -b main
  echo 'BRANCH = "main"' > "$work/repo/python/sgl_jax/branch.py"
  baseline_commit=$(commit_all main)
}

buildah_ inspect --type image "$base" > /dev/null 2>&1 || { say "the base: debootstrap, Python 3.12"; make_base; }

say "the branches: sglang-jax 0.0.2 in a local git repository"
make_branches

say "the image"
buildah_ bud --isolation chroot --pull-never "${layers[@]}" --tag "$image" --file "$root/docker/Dockerfile.profiling" \
  --volume "$work/repo:/repo:ro" \
  --build-arg BASE_IMAGE="$base" --build-arg REPO_URL=file:///repo --build-arg BRANCH_NAME=serving-fixes \
  --build-arg GIT_COMMIT="$commit" --build-arg SGLANG_EXTRA= --build-arg SERVER_CONSTRAINTS=server.txt \
  --build-arg BASELINE_BRANCH=main --build-arg BASELINE_COMMIT="$baseline_commit" \
  --build-arg KIT_COMMIT="$(git -C "$root" rev-parse HEAD)" \
  "$root" > "$work/build.log" 2>&1 || { tail -40 "$work/build.log"; exit 1; }

container=$(buildah_ from --pull-never "$image")
in_image() { buildah_ run --isolation chroot "$container" -- "$@"; }
say "the size"
size_mb=$(du --summarize --apparent-size --block-size 1M "$(buildah_ mount "$container")" | cut -f1)
echo "the image has $size_mb MB, of $budget_mb at most; the largest folders of /opt:"
in_image /bin/sh -c 'du --summarize --block-size 1M /opt/*'
[ "$size_mb" -le "$budget_mb" ] || { echo "image-check: the image is too large"; exit 1; }
"$python" - "$(buildah_ mount "$container")/etc/scoreprof/sbom.cdx.json" <<'PYTHON'
import json, sys

bom = json.load(open(sys.argv[1]))
of = {(part["properties"][0]["value"], part["name"]) for part in bom["components"]}
missing = {("kit", "scoreprof-nb"), ("server", "sglang-jax"), ("baseline", "jax"), ("system", "tini")} - of
assert bom["bomFormat"] == "CycloneDX" and not missing, missing
PYTHON
label() { buildah_ inspect --type image --format "{{index .OCIv1.Config.Labels \"$1\"}}" "$image"; }
[ "$(label org.opencontainers.image.revision)" = "$commit" ] \
  && [ "$(label scoreprof.baseline-commit)" = "$baseline_commit" ] \
  || { echo "image-check: the image's labels do not name the commits"; exit 1; }
build_tools=$(in_image /bin/sh -c 'command -v git cc || true')
[ -z "$build_tools" ] || { echo "image-check: the final stage has" $build_tools; exit 1; }
in_image /opt/baseline/bin/python -c 'from sgl_jax import branch; assert branch.BRANCH == "main"'

say "the Job's Pods in the image"
export IMAGE_CONTAINER=$container IMAGE_COMMIT=$commit IMAGE_BASELINE_COMMIT=$baseline_commit
"$root/.venv/bin/python" -m pytest "$root/tests/image" --exitfirst --durations=0 -rP --basetemp "$work/pods" \
  --rootdir "$root" -p no:cacheprovider
say "the image builds; the Job runs, stops and continues in it"
