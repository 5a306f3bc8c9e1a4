#!/usr/bin/env bash
# Prints the manifests of a run: render.sh [matrix|compare] [NAME=VALUE ...] | kubectl apply -f -
# Without a name, that of a single run. NAME=VALUE goes before settings.env; RUN is the time unless given.
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
settings=("RUN=$(date -u +%Y%m%d-%H%M%S)" "$@")
names=$(printf '%s\n' "${settings[@]}" | sed 's/=.*//' | sort -u | paste -sd '|')
grep -vE "^($names)=" "$here/settings.env" > "$scratch/base/settings.env"
for setting in "${settings[@]}"; do # the last one of a name wins
  sed -i "/^${setting%%=*}=/d" "$scratch/base/settings.env"
  printf '%s\n' "$setting" >> "$scratch/base/settings.env"
done
missing=$(sed -n 's/^\([A-Z_]*\)=.*REPLACE-ME.*/\1/p' "$scratch/base/settings.env" | paste -sd ' ')
[ -z "$missing" ] || refuse "fill in $missing, in k8s/settings.env or as NAME=VALUE"
if [ "$variant" != base ]; then
  cp -r "$here/$variant" "$scratch/$variant"
  namespace=$(sed -n 's/^NAMESPACE=//p' "$scratch/base/settings.env")
  sed -i "s/namespace: score-profiling/namespace: $namespace/" "$scratch/$variant/kustomization.yaml"
fi
kubectl kustomize "$scratch/$variant"
