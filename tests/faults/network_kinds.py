"""Faults of what the server answers, and of the port that it was to have."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scoreprof_nb.capture.server import free_port
from tests.faults.kind import Kind
from tests.faults.place import Place
from tests.faults.proxied_server import BROKEN


@contextmanager
def _fixed_port(place: Place) -> Iterator[None]:
    place.parameters["port"] = free_port()
    yield


def _take_port_silently(place: Place, undo: ExitStack) -> bool:
    """A program that listens and never answers."""
    taken = undo.enter_context(socket.socket())
    try:
        taken.bind(("127.0.0.1", int(str(place.parameters["port"]))))
    except OSError:
        return False
    taken.listen()
    return True


class _FriendlyServer(BaseHTTPRequestHandler):
    """Answers everything with 200, as a health endpoint of another service would."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def _take_port_with_a_server(place: Place, undo: ExitStack) -> bool:
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(str(place.parameters["port"]))), _FriendlyServer)
    except OSError:
        return False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    undo.callback(server.server_close)
    undo.callback(server.shutdown)
    return True


def ports() -> Iterator[Kind]:
    taken = partial(Kind, group="ports", latest_s=2.0, around=_fixed_port)
    yield taken("port taken after the check by a silent program", strike=_take_port_silently)
    yield taken("port taken after the check by another HTTP server", strike=_take_port_with_a_server)


@contextmanager
def _behind_a_proxy(place: Place) -> Iterator[None]:
    """The server's interpreter is a script that puts the proxy before the real server."""
    real, script = os.environ["SCOREPROF_SERVER_PYTHON"], place.folder / "server-python"
    proxy = Path(__file__).with_name("proxied_server.py")
    control = place.folder / "proxy-mode"
    script.write_text(
        f'#!/bin/sh\ncase " $* " in *\' --port \'*) exec {real} {proxy} {real} {control} "$@";; esac\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o700)
    place.environment["SCOREPROF_SERVER_PYTHON"] = str(script)
    yield


def _break_answers(mode: str, seconds: float | None, place: Place, undo: ExitStack) -> bool:
    control = place.folder / "proxy-mode"
    control.write_text(mode)
    if seconds is None:
        undo.callback(control.unlink)
    else:
        time.sleep(seconds)
        control.unlink()
    return True


def answers() -> Iterator[Kind]:
    for mode in BROKEN:
        for seconds in (1.5, None) if mode in ("500", "close") else (None,):
            yield Kind(
                f"answers: {mode}{'' if seconds is None else f', for {seconds} s'}",
                "answers",
                partial(_break_answers, mode, seconds),
                after="phase small (",
                latest_s=6.0,
                around=_behind_a_proxy,
            )
