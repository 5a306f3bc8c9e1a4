"""JupyterLab for tests: on 127.0.0.1, with settings of its own, ended with the block."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60.0
STOP_S = 10.0
# All cells are drawn at once, so that a test need not scroll; no news are asked for.
_SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}


@contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[str]:
    """Serve the notebooks of a folder; yields the address. ``home``: for settings and signatures."""
    for name, values in _SETTINGS.items():
        path = home / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"),
            *("--IdentityProvider.token=", "--LabApp.extension_manager=readonly"),
        ],
        env=environment(home),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/api", server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def trust(notebook: Path, home: Path) -> None:
    """Sign a notebook, as JupyterLab does when a user runs it: its scripts may run."""
    command = [sys.executable, "-m", "jupyter", "trust", str(notebook)]
    subprocess.run(command, env=environment(home), check=True, capture_output=True, timeout=60)


def environment(home: Path) -> dict[str, str]:
    """Jupyter's folders below ``home``."""
    kinds = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    folders = {f"JUPYTER_{kind}_DIR": str(home / name) for kind, name in kinds.items()}
    return {**os.environ, **folders, "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, f"JupyterLab ended with {server.returncode}"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"JupyterLab does not answer after {START_S:g} s")
