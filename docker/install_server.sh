#!/bin/bash
# Installs sglang-jax of a branch or a commit into an environment of its own, and writes down which it was.
#
#   install_server TARGET REPO BRANCH COMMIT EXTRA CONSTRAINTS    (the last three may be empty)
set -euo pipefail
target=$1 repo=$2 branch=$3 commit=$4 extra=$5 constraints=$6

source=$(mktemp -d)
git init --quiet "$source"
git -C "$source" fetch --quiet --depth 1 "$repo" "${commit:-$branch}"
git -C "$source" checkout --quiet FETCH_HEAD
resolved=$(git -C "$source" rev-parse HEAD)

package=$source/python  # where the repository has it
[ -e "$package/pyproject.toml" ] || package=$source

python -m venv "$target"
# The clone has no tags, from which setuptools-scm would take the version. A wheel first, so that the
# version is pretended for this package alone.
SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0+g${resolved:0:12} \
  "$target/bin/python" -m pip wheel --no-deps --wheel-dir "$source/wheel" "$package"
wheel=$(echo "$source"/wheel/*.whl)
"$target/bin/python" -m pip install ${constraints:+--constraint "/constraints/$constraints"} \
  "$wheel${extra:+[$extra]}"
rm -rf "$source"

python - "$target/scoreprof-source.json" "$repo" "$branch" "$resolved" <<'PYTHON'
import json, pathlib, re, sys

target, repo, branch, commit = sys.argv[1:]
repo = re.sub(r"://[^/@]*@", "://", repo)  # never a password
pathlib.Path(target).write_text(json.dumps({"repo": repo, "branch": branch, "commit": commit}) + "\n")
PYTHON
