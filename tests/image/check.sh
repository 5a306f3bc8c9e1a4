#!/usr/bin/env bash
# Builds docker/Dockerfile.profiling for real, without a Docker engine, and runs the main job in the image
# with short phases (`make image-check`; as root, about a quarter of an hour the first time).
#
# What a registry would give is made here: the base image by debootstrap and this machine's Python 3.12, the
# branch to clone from sglang-jax 0.0.2's source on PyPI, laid into a local git repository.
# Packages and the base are kept in $SCOREPROF_IMAGE_CACHE (default: scoreprof-nb/image in the user's cache).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$(command -v python3.12 || command -v python3)}
cache=${SCOREPROF_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scoreprof-nb/image}
work=$(mktemp -d)
mkdir -p "$cache"

[ "$(id -u)" = 0 ] || { echo "image-check: needs root, for debootstrap and buildah"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || { echo "image-check: needs Python 3.12"; exit 1; }
if ! command -v buildah debootstrap > /dev/null; then
  apt-get update -qq
  apt-get install -qq --yes --no-install-recommends buildah debootstrap > /dev/null
fi
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
store=(--root "$cache/storage" --runroot "$work/run" --storage-driver vfs)
container=
cleanup() {
  [ -z "$container" ] || buildah "${store[@]}" rm "$container" > /dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

base=localhost/scoreprof-base:3.12
if ! buildah "${store[@]}" inspect --type image "$base" > /dev/null 2>&1; then
  say "the base image: debootstrap and Python 3.12"
  libraries=ca-certificates,libbz2-1.0,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,zlib1g
  debootstrap --variant=minbase --include=$libraries bookworm "$work/base" > "$work/debootstrap.log" \
    || { tail -20 "$work/debootstrap.log"; exit 1; }
  cp -a "$("$python" -c 'import sys; print(sys.base_prefix)')/." "$work/base/usr/local/"
  ln -sf python3.12 "$work/base/usr/local/bin/python"
  # pip's scripts name the interpreter of this machine.
  rm -f "$work"/base/usr/local/bin/pip*
  # How this machine reaches packages; it stays in this local base.
  for file in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/pip.conf /etc/ssl/certs; do
    [ ! -e "$file" ] || cp -rL "$file" "$work/base$(dirname "$file")/"
  done
  scratch=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" add --quiet "$scratch" "$work/base" / > /dev/null
  buildah "${store[@]}" config --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$scratch"
  buildah "${store[@]}" commit --quiet "$scratch" "$base" > /dev/null
  buildah "${store[@]}" rm "$scratch" > /dev/null
  rm -rf "$work/base"
fi

say "the branch: sglang-jax 0.0.2 in a local git repository"
"$python" -m pip download --quiet --no-deps --no-binary :all: --dest "$work" sglang-jax==0.0.2
mkdir -p "$work/repo/python"
tar --extract --file "$work"/sglang_jax-0.0.2.tar.gz --directory "$work/repo/python" --strip-components 1
git -C "$work/repo" init --quiet --initial-branch serving-fixes
git -C "$work/repo" add .
git -C "$work/repo" -c user.name=check -c user.email=check@example.org commit --quiet --message "0.0.2"
commit=$(git -C "$work/repo" rev-parse HEAD)

image=localhost/score-profiler:check
say "building the image"
buildah "${store[@]}" bud --pull-never --layers --tag "$image" --file "$root/docker/Dockerfile.profiling" \
  --volume "$work/repo:/repo:ro" \
  --build-arg BASE_IMAGE="$base" --build-arg REPO_URL=file:///repo --build-arg BRANCH_NAME=serving-fixes \
  --build-arg GIT_COMMIT="$commit" --build-arg SGLANG_EXTRA= --build-arg SERVER_CONSTRAINTS=server.txt \
  --build-arg KIT_COMMIT="$(git -C "$root" rev-parse HEAD)" \
  "$root" > "$work/build.log" 2>&1 || { tail -40 "$work/build.log"; exit 1; }

say "the main job in the image"
container=$(buildah "${store[@]}" from --pull-never "$image")
mkdir "$work/outputs"
mapfile -t entrypoint < <(buildah "${store[@]}" inspect --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container" | sed '/^$/d')
buildah "${store[@]}" run --cap-add CAP_SYS_PTRACE --volume "$work/outputs:/outputs" "$container" -- \
  "${entrypoint[@]}" notebooks/profile_score_api.ipynb /outputs/out.ipynb -p run_dir /outputs/run \
  -p label serving-fixes -p phases single,small -p phase_s 4 -p warmup_s 40

say "checking what it left"
"$python" - "$work/outputs/run" "$commit" <<'PYTHON'
import json, pathlib, sys

run, commit = pathlib.Path(sys.argv[1]), sys.argv[2]
summary = json.loads((run / "summary.json").read_text())
assert summary["status"] == "complete", summary["status"]
source = summary["provenance"]["sglang_jax_source"]
assert source == {"repo": "file:///repo", "branch": "serving-fixes", "commit": commit}, source
assert summary["provenance"]["image"]["server"]["commit"] == commit
assert commit in (run / "report.html").read_text(), "the report does not name the commit"
for name, phase in summary["phases"].items():
    assert phase["requests"]["ok"] and phase["quality"]["ticks"], name
PYTHON
label=$(buildah "${store[@]}" inspect --type image --format '{{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}' "$image")
[ "$label" = "$commit" ] || { echo "the image's label names $label"; exit 1; }
say "the image builds, runs, and its report names the commit"
