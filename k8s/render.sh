#!/usr/bin/env bash
# Prints the manifests of a run: render.sh [matrix|compare] [NAME=VALUE ...] | kubectl apply -f -
# Without a variant: a single run. NAME=VALUE overrides settings.env. RUN is generated unless it is given.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
variant=base
case ${1:-} in matrix | compare) variant=$1 && shift ;; esac
refuse() { echo "render.sh: $1" >&2 && exit 42; }
for setting in "$@"; do
  case $setting in *=*) ;; *) refuse "'$setting' is not NAME=VALUE, nor a variant (matrix or compare) in first place" ;; esac
  grep -q "^${setting%%=*}=" "$here/settings.env" || refuse "settings.env has no ${setting%%=*}"
done

mkdir "$scratch/base"
cp "$here/score-profiling-job.yaml" "$here/kustomization.yaml" "$scratch/base"
settings=$scratch/base/settings.env
run=$(date -u +%Y%m%d-%H%M%S)-$(printf '%04x' "$RANDOM") # the suffix keeps two Jobs of one second apart
{ cat "$here/settings.env" && printf '%s\n' "RUN=$run" "$@"; } \
  | awk '/^#/ || !/=/ {next} {name = $0; sub(/=.*/, "", name); last[name] = $0} END {for (name in last) print last[name]}' \
    > "$settings"
value() { sed -n "s/^$1=//p" "$settings"; }

missing=$(for name in IMAGE MODELS_BUCKET RESULTS_BUCKET MODEL; do
  case $(value $name) in *REPLACE-ME*) printf ' %s' $name ;; esac
done)
[ -z "$missing" ] || refuse "not set:$missing (set them in k8s/settings.env or as NAME=VALUE)"
# A Job's name has at most 63 characters, including the suffix that the Pods of an index get.
printf '%s' "$(value RUN)" | grep -Eqx '[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?' \
  || refuse "RUN='$(value RUN)': use at most 40 of a-z, 0-9 and -, with no - at either end"
image=$(value IMAGE)
printf '%s' "$image" | grep -Eqx '([-a-z0-9.]+(:[0-9]+)?/)?[-a-z0-9._/]+(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?' \
  || refuse "IMAGE='$image' is not an image name: use lower case, then :TAG"
case ${image##*/} in
  *@sha256:*) ;;
  *:latest) refuse "IMAGE='$image': latest may be another image by the time of a retry: use a unique tag" ;;
  *:*) ;;
  *) refuse "IMAGE='$image' has no tag, which means latest: use REPOSITORY:TAG" ;;
esac

if [ "$variant" != base ]; then
  cp -r "$here/$variant" "$scratch/$variant"
  sed "s/namespace: score-profiling/namespace: $(value NAMESPACE)/" "$here/$variant/kustomization.yaml" \
    > "$scratch/$variant/kustomization.yaml"
fi
kubectl kustomize "$scratch/$variant"
