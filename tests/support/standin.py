"""A stand-in for the server, for failures that the real one does not produce on demand.

``standin(answer)`` serves in this process; ``write_server`` writes the program of a small server that
can be launched, with a switch for each way to fail.
"""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

WAIT_S = 10.0


class StandIn(ThreadingHTTPServer):
    """``bodies``: every request body so far; ``in_flight`` and ``most_in_flight`` count requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[["Handler", dict], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.bodies: list[bytes] = []
        self.lock = threading.Lock()
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """Ignore clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.bodies.append(content)
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        try:
            self.server.answer(self, json.loads(content or b"{}"))
        finally:
            with self.server.lock:
                self.server.in_flight -= 1

    def reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def reply_json(self, value: object) -> None:
        self.reply(200, json.dumps(value).encode())

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments) -> None:
        pass


def scores_for(body: dict) -> dict:
    return {"scores": [[0.25, 0.75] for _ in body["items"]]}


@contextmanager
def standin(answer: Callable[[Handler, dict], None]) -> Iterator[StandIn]:
    server = StandIn(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S)


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for something that must happen; the limit asserts nothing about speed."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.01)


def wait_handlers(pid: int) -> None:
    """Wait until a launcher handles SIGUSR2, which would kill it before."""
    bit = 1 << (signal.SIGUSR2 - 1)

    def caught() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"SigCgt:\s+(\w+)", status)[1], 16) & bit

    wait_until(caught, "the launcher's signal handlers")


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def wait_ended(pid: int) -> None:
    wait_until(lambda: not lives(pid), f"the end of process {pid}")


def kill(pid: int) -> None:
    """Clean up after a failed test."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def pid_in(path: Path) -> int:
    """The pid that another process writes into a file."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), f"a pid in {path.name}")
    return int(path.read_text())


def write_server(folder: Path) -> str:
    """Write the program of the small server; gives its path."""
    path = folder / "standin_server.py"
    path.write_text(SERVER)
    return str(path)


# argv: PORT [switch ...]. Serves /health and /v1/score.
SERVER = r"""
import json, os, signal, socket, subprocess, sys, tempfile, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, switches = int(sys.argv[1]), sys.argv[2:]
print("api_key='s3cr3tvalue42' starting", flush=True)
if "socket" in switches:  # as sglang-jax leaves its own
    path = tempfile.NamedTemporaryFile(delete=False).name
    os.unlink(path)
    socket.socket(socket.AF_UNIX).bind(path)
    print("socket", path, flush=True)
if "dies" in switches:
    print("cannot load the model", file=sys.stderr, flush=True)
    sys.exit(3)
if "aborts" in switches:
    os.abort()
stubborn = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
stubborn += "open(sys.argv[1], 'w').write(f'{os.getpid()}\\n'); time.sleep(120)"
def breed(path, own_session):
    subprocess.Popen([sys.executable, "-c", stubborn, path], start_new_session=own_session)
    for _ in range(1000):
        if os.path.exists(path) and open(path).read().endswith("\n"):
            return
        time.sleep(0.01)
    sys.exit("no grandchild")
if "helper" in switches:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.6)"], check=True)
for switch in switches:
    if switch.startswith("grandchild="):
        breed(switch.partition("=")[2], False)
    if switch.startswith("daemon="):
        breed(switch.partition("=")[2], True)
if "deaf" in switches:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = [int(s.partition("=")[2]) for s in switches if s.startswith("requests=")]
slow_s = max([float(s.partition("=")[2]) for s in switches if s.startswith("slow=")], default=0.005)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def do_GET(self):
        self.answer(503 if "sick" in switches else 200, b"")
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if left:
            left[0] -= 1
            if left[0] < 0:
                print("out of memory", flush=True)
                os._exit(7)
        time.sleep(slow_s)
        if "large_fails" in switches and len(body["items"]) > 1:
            self.answer(500, b"out of memory")
            return
        self.answer(200, json.dumps({"scores": [[0.25, 0.75] for _ in body["items"]]}).encode())
    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
"""
