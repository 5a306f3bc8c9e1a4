"""Stands between the kit and a real server, and breaks its answers when it is told to.

    proxied_server.py PYTHON CONTROL ARGUMENT ...        the server's command, with --port PORT in it
    proxied_server.py proxy PORT SERVER_PORT CONTROL

The first form moves the server to another port, starts the second, which listens on the server's own, and
becomes the server. CONTROL is a file with the name of what happens to answers of the score endpoint: a key
of ``BROKEN``; nothing while it is empty or missing. Standard library only: it runs in the server's Python.
"""

import ctypes
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SLOW_S = 3.0
NEVER_S = 600.0
SCORE = "/v1/score"
_PR_SET_PDEATHSIG = 1


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on to the server."""

    protocol_version = "HTTP/1.1"
    server_port: int
    control: Path

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=600)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException):  # the server has not started yet, or has ended
            self.close_connection = True
            return
        finally:
            connection.close()
        BROKEN.get(self._mode(), Proxy.answer)(self, status, content)

    def _mode(self) -> str:
        if self.path != SCORE:
            return ""
        with suppress(OSError):
            return self.control.read_text()
        return ""

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def slow(self, status: int, content: bytes) -> None:
        time.sleep(SLOW_S)
        self.answer(status, content)

    def never(self, status: int, content: bytes) -> None:
        time.sleep(NEVER_S)
        self.close_connection = True

    def half(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def garbage(self, status: int, content: bytes) -> None:
        self.answer(status, random.randbytes(200))

    def wrong_json(self, status: int, content: bytes) -> None:
        self.answer(
            status, b'{"scores": [[NaN, 1e999], null], "object": ["' + b"<script>\x1b[31m" * 20 + b'"]}'
        )

    def error_500(self, status: int, content: bytes) -> None:
        self.answer(500, b'{"error": "it broke"}')

    def close(self, status: int, content: bytes) -> None:
        self.close_connection = True

    def reset(self, status: int, content: bytes) -> None:
        linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: it would be in the server's log."""


BROKEN: dict[str, Callable[[Proxy, int, bytes], None]] = {
    "slow": Proxy.slow,
    "never": Proxy.never,
    "half": Proxy.half,
    "garbage": Proxy.garbage,
    "wrong JSON": Proxy.wrong_json,
    "500": Proxy.error_500,
    "close": Proxy.close,
    "reset": Proxy.reset,
}


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Run the proxy, or start it and become the server."""
    if arguments[0] == "proxy":
        Proxy.server_port, Proxy.control = int(arguments[2]), Path(arguments[3])
        ThreadingHTTPServer(("127.0.0.1", int(arguments[1])), Proxy).serve_forever()
    python, control, *server = arguments
    place = server.index("--port") + 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server_port = str(probe.getsockname()[1])
    proxy = [python, __file__, "proxy", server[place], server_port, control]
    subprocess.Popen(proxy, preexec_fn=die_with_parent)
    server[place] = server_port
    os.execv(python, [python, *server])


if __name__ == "__main__":
    main(sys.argv[1:])
