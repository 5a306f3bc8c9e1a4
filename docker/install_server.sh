#!/bin/bash
# Installs what sglang-jax of a branch or a commit needs, but not the package itself, and builds its wheel beside
# scoreprof-source.json, which records the commit. The final stage installs the wheel: its layer is small.
#
#   install_server TARGET WHEELS REPO BRANCH COMMIT EXTRA CONSTRAINTS    (the last three may be empty)
#
# Packages are added to the environment TARGET if there is one. CONSTRAINTS is a file with exact versions.
set -euo pipefail
python=${INSTALLER_PYTHON:-/opt/uv/bin/python} # with pip, and uv beside it
create_environment=${CREATE_ENVIRONMENT:-/constraints/create_environment.py}
target=$1 wheels=$2 repo=$3 branch=$4 commit=$5 extra=$6 constraints=$7

# A private repository is reached by an SSH agent or ~/.netrc, which the build mounts; nobody can be asked.
export GIT_TERMINAL_PROMPT=0
export GIT_SSH_COMMAND='ssh -o StrictHostKeyChecking=accept-new -o BatchMode=yes'
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
  "$python" -m pip wheel --no-deps --wheel-dir "$wheels" "$package"
wheel=$(echo "$wheels"/*.whl)
add=()
[ ! -e "$target/bin/python" ] || add=(--add)
"$python" "$create_environment" "${add[@]}" "$target" ${constraints:+--constraint "$constraints"} \
  "$wheel${extra:+[$extra]}"
name=$(basename "$wheel")
"$target/bin/python" -m pip uninstall --quiet --yes --root-user-action ignore "${name%%-*}"
rm -rf "$source"

"$python" - "$wheels/scoreprof-source.json" "$repo" "$branch" "$resolved" <<'PYTHON'
import json, pathlib, re, sys

target, repo, branch, commit = sys.argv[1:]
repo = re.sub(r"://[^/@]*@", "://", repo)  # without user and password
pathlib.Path(target).write_text(json.dumps({"repo": repo, "branch": branch, "commit": commit}) + "\n")
PYTHON
