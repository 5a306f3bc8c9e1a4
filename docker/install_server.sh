#!/bin/bash
# Installs sglang-jax of a branch or a commit into its own environment, and records which commit it was.
#
#   install_server TARGET REPO BRANCH COMMIT EXTRA CONSTRAINTS    (the last three may be empty)
set -euo pipefail
python=${INSTALLER_PYTHON:-/opt/uv/bin/python} # with pip, and uv beside it
create_environment=${CREATE_ENVIRONMENT:-/constraints/create_environment.py}
target=$1 repo=$2 branch=$3 commit=$4 extra=$5 constraints=$6

source=$(mktemp -d)
git init --quiet "$source"
git -C "$source" fetch --quiet --depth 1 "$repo" "${commit:-$branch}"
git -C "$source" checkout --quiet FETCH_HEAD
resolved=$(git -C "$source" rev-parse HEAD)

package=$source/python  # the package's folder in sglang-jax's repository
[ -e "$package/pyproject.toml" ] || package=$source

# setuptools-scm takes the version from tags, which this clone does not have. The wheel is built first, so
# that the pretended version applies to this package only.
SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0+g${resolved:0:12} \
  "$python" -m pip wheel --no-deps --wheel-dir "$source/wheel" "$package"
wheel=$(echo "$source"/wheel/*.whl)
"$python" "$create_environment" "$target" ${constraints:+--constraint "/constraints/$constraints"} \
  "$wheel${extra:+[$extra]}"
rm -rf "$source"

"$python" - "$target/scoreprof-source.json" "$repo" "$branch" "$resolved" <<'PYTHON'
import json, pathlib, re, sys

target, repo, branch, commit = sys.argv[1:]
repo = re.sub(r"://[^/@]*@", "://", repo)  # without user and password
pathlib.Path(target).write_text(json.dumps({"repo": repo, "branch": branch, "commit": commit}) + "\n")
PYTHON
