"""The client of the score endpoint: its headers."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scoreprof_nb.capture.client import ScoreClient, judge
from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.workload import FileWorkload
from scoreprof_nb.parameters.requests_file import RequestBody

KEY = "opensesame"
BODY = RequestBody("single", 1, b"{}", 2)


class Handler(BaseHTTPRequestHandler):
    """Answers like a server that was started with ``--api-key``."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers["Authorization"] == f"Bearer {KEY}"
        answer = b'{"scores": [[0.5, 0.5]]}' if allowed else b'{"error": "Unauthorized"}'
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def url():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("key", "error"), [(KEY, None), ("", "http_401"), ("other", "http_401")])
def test_key_is_sent_as_a_bearer_token(url, key, error):
    """Broken: every request to a server with a key is refused, or a wrong key goes unnoticed."""
    with ScoreClient(url, 5, key) as client:
        assert judge(client.send(BODY), BODY).error == error


def test_load_has_the_key(url):
    """Broken: the warm-up has the key and the measured requests do not."""
    load = LoadGenerator(url, FileWorkload([BODY]), 1, 5, KEY)
    with load:
        while not load.rows:
            time.sleep(0.01)
    assert {row["error"] for row in load.rows} == {None}
    assert KEY not in str(load.rows) + str(load.failures)


@contextmanager
def redirecting(target):
    """A server that sends every request on to another address."""

    class Redirect(Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_no_redirect_is_followed(url):
    """Broken: a server on this machine sends texts of requests and the API key to another machine."""
    with redirecting(f"{url}/v1/score") as first, ScoreClient(first, 5, KEY) as client:
        assert judge(client.send(BODY), BODY).error == "http_307"
