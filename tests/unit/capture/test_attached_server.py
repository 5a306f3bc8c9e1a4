"""A server that is running already: it is found by its URL, watched, and left alive."""

import signal
import subprocess
import sys

import psutil
import pytest

from scoreprof_nb.capture.attached_server import AttachedServer
from scoreprof_nb.capture.server import ServerFailed, free_port
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from tests.support.standin import kill, lives, pid_in, wait_until, write_server

SECRET = "s3cr3tvalue42"
LIMIT_S = 30.0  # never reached by a server that works


@pytest.fixture
def running(tmp_path):
    """A server that somebody else runs: (pid, url)."""
    port = free_port()
    command = [
        sys.executable,
        write_server(tmp_path),
        str(port),
        "--api-key",
        SECRET,
        f"grandchild={tmp_path / 'other'}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while process.stdout.readline() != "ready\n":
                assert process.poll() is None
            wait_until(lambda: listens(process.pid), "the listening socket")
            yield process, f"http://127.0.0.1:{port}/"
        finally:
            process.kill()
            kill(pid_in(tmp_path / "other"))


def listens(pid):
    return any(
        connection.status == psutil.CONN_LISTEN for connection in psutil.Process(pid).net_connections()
    )


def test_attached_server_is_used_and_left_alive(running):
    """Broken: profiling ends a server that somebody else is running."""
    process, url = running
    server = AttachedServer(url, Redactor())
    server.wait_healthy(LIMIT_S)
    assert server.url == url.rstrip("/")
    assert server.pid() == process.pid
    assert server.log is None
    assert server.command()[0] == sys.executable
    root, _ = server.processes()
    assert root.pid == process.pid
    assert SECRET not in root.command
    server.enable_clock(True)
    server.check_alive()
    assert process.poll() is None
    assert lives(process.pid)


def test_attached_server_that_dies_is_noticed(running):
    """Broken: the capture waits for a running server that has died."""
    process, url = running
    server = AttachedServer(url, Redactor())
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(ServerFailed, match=rf"a process of the server at .* ended \(pid {process.pid}\)"):
        server.check_alive()
    with pytest.raises(ServerFailed, match="/health does not answer"):
        server.wait_healthy(0.3)


def test_nobody_listens_at_the_url():
    """Broken: a URL at which nobody listens gives a traceback."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ParameterError, match=f"server_url='{url}': no process that this user can see"):
        AttachedServer(url, Redactor())


def test_log_of_an_attached_server_is_copied_without_secrets(running, tmp_path):
    """Broken: with `server_log`, batches are not known, a secret is kept, or the server's own log is written to."""
    _, url = running
    own, copy = tmp_path / "own.log", tmp_path / "server.log"
    own.write_text("before\n")
    server = AttachedServer(url, Redactor.for_server("", {"API_KEY": SECRET}))
    with server.copied_log(str(own), copy):
        with own.open("a") as file:
            file.write(f"Prefill batch. #new-seq: 4\nkey {SECRET}\n")
        wait_until(lambda: len(server.log.lines()) == 3, "the copied lines")
    note, batch, key = (line.partition(" ")[2] for line in copy.read_text().splitlines())
    assert note == f"scoreprof-nb: reading {own}"
    assert batch == "Prefill batch. #new-seq: 4"
    assert key.startswith("key ")
    assert SECRET not in key
    assert own.read_text().startswith("before\nPrefill")


def test_log_that_cannot_be_read_is_refused(running, tmp_path):
    _, url = running
    refused = pytest.raises(ParameterError, match=r"server_log=.*cannot be read: No such file")
    with refused, AttachedServer(url, Redactor()).copied_log(str(tmp_path / "no"), tmp_path / "copy"):
        pass
