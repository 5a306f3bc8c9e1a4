#!/usr/bin/env bash
# Prints the manifests of a run: render.sh [matrix|compare] [NAME=VALUE ...] | kubectl apply -f -
# Without a name, that of a single run. NAME=VALUE goes before settings.env; RUN is new each time unless given.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
variant=base
case ${1:-} in matrix | compare) variant=$1 && shift ;; esac
refuse() { echo "render.sh: $1" >&2 && exit 42; }
for setting in "$@"; do
  case $setting in *=*) ;; *) refuse "'$setting' is neither matrix or compare, which come first, nor NAME=VALUE" ;; esac
  grep -q "^${setting%%=*}=" "$here/settings.env" || refuse "settings.env has no ${setting%%=*}"
done

mkdir "$scratch/base"
cp "$here/score-profiling-job.yaml" "$here/kustomization.yaml" "$scratch/base"
settings=$scratch/base/settings.env
run=$(date -u +%Y%m%d-%H%M%S)-$(printf '%04x' "$RANDOM") # the last word: two within a second differ
{ cat "$here/settings.env" && printf '%s\n' "RUN=$run" "$@"; } \
  | awk '/^#/ || !/=/ {next} {name = $0; sub(/=.*/, "", name); last[name] = $0} END {for (name in last) print last[name]}' \
    > "$settings"
value() { sed -n "s/^$1=//p" "$settings"; }

missing=$(for name in IMAGE MODELS_BUCKET RESULTS_BUCKET MODEL; do
  case $(value $name) in *REPLACE-ME*) printf ' %s' $name ;; esac
done)
[ -z "$missing" ] || refuse "fill in$missing, in k8s/settings.env or as NAME=VALUE"
# Names of Jobs have at most 63 characters, and the Pods of an index add to it.
printf '%s' "$(value RUN)" | grep -Eqx '[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?' \
  || refuse "RUN='$(value RUN)': at most 40 of a-z, 0-9 and -, which may be neither first nor last"
image=$(value IMAGE)
printf '%s' "$image" | grep -Eqx '([-a-z0-9.]+(:[0-9]+)?/)?[-a-z0-9._/]+(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?' \
  || refuse "IMAGE='$image' is not the name of an image: lower case, then :TAG"
case ${image##*/} in
  *@sha256:*) ;;
  *:latest) refuse "IMAGE='$image': latest is another image tomorrow, and a retry must run the same: give it a tag of its own" ;;
  *:*) ;;
  *) refuse "IMAGE='$image' has no tag, which means latest: name it exactly, as REPOSITORY:TAG" ;;
esac

if [ "$variant" != base ]; then
  cp -r "$here/$variant" "$scratch/$variant"
  sed "s/namespace: score-profiling/namespace: $(value NAMESPACE)/" "$here/$variant/kustomization.yaml" \
    > "$scratch/$variant/kustomization.yaml"
fi
kubectl kustomize "$scratch/$variant"
