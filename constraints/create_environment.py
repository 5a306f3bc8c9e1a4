"""Create a virtual environment and install packages into it: with uv where it can be had, else with pip.

    python create_environment.py [--uv PROGRAM] [--add] FOLDER INSTALL-ARGUMENTS...

By default, uv is looked for beside the Python that runs this program, which must have pip.
uv installs in seconds what takes pip minutes. It does not read pip's configuration, so the index, the
proxy and the like that pip would use are passed on. Where uv is missing or fails, pip does the same.
Byte code is compiled when a module is first imported, or at once if $UV_COMPILE_BYTECODE is set.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# uv's variable for each option of pip, and what separates its values.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
SECTIONS = ("global", "install", ":env:")  # in the order in which they override each other


def parse_pip_config(listing: str) -> dict[str, str]:
    """Return the options in the output of ``pip config list``, later sections over earlier ones."""
    lines = [re.fullmatch(r"([^.]+)\.([\w-]+)='(.*)'", line) for line in listing.splitlines()]
    entries = [match.groups() for match in lines if match and match[1] in SECTIONS]
    entries.sort(key=lambda entry: SECTIONS.index(entry[0]))
    return {option: value.replace(r"\n", " ") for _, option, value in entries}


def reachable(value: str) -> bool:
    """False for a path or file URL that does not exist: uv refuses what pip ignores."""
    path = value.removeprefix("file://")
    return not path.startswith("/") or Path(path).exists()


def uv_environment(pip_options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with pip's options as uv's variables. Variables that are set stay."""
    passed_on = {
        UV_VARIABLES[option][0]: UV_VARIABLES[option][1].join(filter(reachable, value.split()))
        for option, value in pip_options.items()
        if option in UV_VARIABLES
    }
    defaults = {"UV_PYTHON_DOWNLOADS": "never", "UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip does
    return {**defaults, **passed_on, **environment}


def pip_options() -> dict[str, str]:
    """Return the options that pip would use here."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_pip_config(answer.stdout)


def install_with_uv(uv: str, folder: Path, arguments: list[str], add: bool) -> bool:
    """Create the environment with uv, or add to it. False if uv failed."""
    environment = uv_environment(pip_options(), os.environ)
    # --seed: with pip, for whoever installs something else into it.
    create = [uv, "venv", "--quiet", "--seed", "--clear", "--python", sys.executable, str(folder)]
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *arguments]
    commands = [install] if add else [create, install]
    return all(subprocess.run(command, env=environment).returncode == 0 for command in commands)


def install_with_pip(folder: Path, arguments: list[str], add: bool) -> None:
    """Create the environment with venv and pip, or add to it. Raises CalledProcessError."""
    if not add:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    compile_now = [] if os.environ.get("UV_COMPILE_BYTECODE") else ["--no-compile"]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", *compile_now]
    subprocess.run([*pip, *arguments], check=True)


def main() -> int:
    """Create the environment; return pip's exit code if it fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--uv", default=Path(sys.executable).with_name("uv"), metavar="PROGRAM", help="path of uv"
    )
    parser.add_argument("--add", action="store_true", help="install into an environment that is there")
    parser.add_argument(
        "folder", type=Path, help="folder of the environment; it is emptied first, unless --add is given"
    )
    options, arguments = parser.parse_known_args()
    uv = shutil.which(options.uv)
    if uv is not None:
        if install_with_uv(uv, options.folder, arguments, options.add):
            return 0
        print("uv failed; installing with pip instead", flush=True)
    try:
        install_with_pip(options.folder, arguments, options.add)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
