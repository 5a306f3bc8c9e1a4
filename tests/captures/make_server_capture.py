"""Record the stored capture of a sglang-jax 0.0.2 server that answers Score API requests on the CPU.

    python tests/captures/make_server_capture.py SERVER_PYTHON MODEL_FOLDER

``scoreprof_nb/demo/tiny_model.py`` creates the model.
"""

import contextlib
import gzip
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from make_captures import HERE, LIMIT_BYTES, neutral, record

SERVE = HERE.parents[1] / "scoreprof_nb" / "demo" / "serve_0_0_2.py"
FLAGS = shlex.split(
    "--host 127.0.0.1 --device cpu --attention-backend native --dtype bfloat16 --mem-fraction-static 0.1 "
    "--page-size 1 --skip-server-warmup --disable-jax-precompile --precompile-bs-paddings 1 4 40 "
    "--precompile-token-paddings 64 256 1024 --max-total-tokens 1024 --max-running-requests 40 "
    "--context-length 256"
)
REQUEST = {
    "query": "Is it relevant? ",
    "items": ["a b c", "d e"],
    "label_token_ids": [294, 293],
    "apply_softmax": True,
    "item_first": False,
    "model": "default",
}


def call(url: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if server.poll() is not None:
            raise SystemExit(f"the server exited with {server.returncode}")
        try:
            return call(url + "/health")
        except OSError:
            time.sleep(1.0)
    raise SystemExit("the server is not healthy after 240 s")


def kill_tree(root: subprocess.Popen[bytes]) -> None:
    processes = [*psutil.Process(root.pid).children(recursive=True), psutil.Process(root.pid)]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    root.wait()
    psutil.wait_procs(processes, timeout=10)


def main(server_python: str, model: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [server_python, SERVE, "--model-path", model, "--port", str(port), *FLAGS],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def send() -> None:
        with contextlib.suppress(OSError):  # the server is killed while it answers
            while True:
                call(url + "/v1/score", REQUEST)

    sender = threading.Thread(target=send, daemon=True)
    try:
        wait_until_healthy(url, server)
        for _ in range(20):
            call(url + "/v1/score", REQUEST)
        sender.start()
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "recording.json"
            record(server.pid, "speedscope", output, seconds=3.0)
            text = output.read_text()
    finally:
        kill_tree(server)
    stdlib = subprocess.check_output(
        [server_python, "-c", "import sysconfig; print(*map(sysconfig.get_path, ('purelib', 'stdlib')))"],
        text=True,
    ).split()
    text = neutral(
        text,
        {
            stdlib[0]: "/venv/lib/python3.12/site-packages",
            stdlib[1]: "/usr/lib/python3.12",
            str(SERVE.parent): "/app",
            server_python: "/venv/bin/python",
            model: "/models/tiny",
        },
    )
    stored = gzip.compress(text.encode(), mtime=0)
    if len(stored) > LIMIT_BYTES:
        raise SystemExit(f"{len(stored)} bytes, more than {LIMIT_BYTES}")
    (HERE / "server-0.0.2.speedscope.json.gz").write_bytes(stored)


if __name__ == "__main__":
    main(*sys.argv[1:])
