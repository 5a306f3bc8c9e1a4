"""The server under test: launched, watched, logged, and never left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from scoreprof_nb.capture import server as server_module
from scoreprof_nb.capture.server import LaunchedServer, ServerFailed, check_port_free, free_port
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import MASK, Redactor
from tests.support.standin import kill, lives, pid_in, wait_ended, wait_until, write_server

SECRET = "s3cr3tvalue42"
LIMIT_S = 30.0  # never reached by a server that works


@pytest.fixture
def launch(tmp_path):
    """``launch(*switches)`` launches the stand-in; each one is ended with all of its processes."""
    servers = []
    program = write_server(tmp_path)

    def start(*switches, environment=None):
        port = free_port()
        command = [sys.executable, program, str(port), *switches]
        servers.append(
            LaunchedServer(
                command, environment or {}, port, tmp_path / "server.log", Redactor(), cwd=tmp_path
            )
        )
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def pids_of(server):
    return [process.pid for process in server.processes()]


# ---- launched


def test_healthy_server(launch):
    """Broken: a healthy server is not recognised, or its processes are listed wrongly."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    server.check_alive()
    root, child = server.processes()
    assert root.pid == server.pid()
    assert "launcher.py" in root.command
    assert child.parent == root.pid
    assert server.exit_code is None


@pytest.mark.parametrize(
    ("switch", "how"), [("dies", "exited with code 3"), ("aborts", "was killed by signal SIGABRT")]
)
def test_server_that_dies_at_its_start_is_reported_at_once(launch, switch, how):
    """Broken: the user waits for startup_s (10 minutes) and does not see the reason in the log."""
    server = launch(switch)
    with pytest.raises(ServerFailed) as caught:
        server.wait_healthy(LIMIT_S)
    message = str(caught.value)
    assert f"the server {how}. The end of its log:\n" in message
    assert "starting" in message
    assert ("cannot load the model" in message) == (switch == "dies")
    assert SECRET not in message


def test_server_that_never_gets_healthy(launch):
    """Broken: the capture waits forever for a server that does not become healthy."""
    server = launch("sick")
    wait_until(lambda: "ready" in server.log.lines(), "the server's start")
    with pytest.raises(
        ServerFailed, match=r"did not become healthy within 1 s \(parameter startup_s\).*\n(.*\n)*ready"
    ):
        server.wait_healthy(1.0)
    server.check_alive()


def test_other_program_on_the_port_is_not_taken_for_the_server(tmp_path):
    """Broken: a program that took the port after the check answers, and its latencies are reported."""

    class Friendly(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Friendly) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        command = [sys.executable, write_server(tmp_path), str(free_port())]
        log = tmp_path / "server.log"
        with (
            LaunchedServer(command, {}, other.server_port, log, Redactor(), cwd=tmp_path) as server,
            pytest.raises(ServerFailed, match=rf"port {other.server_port} was taken by another program"),
        ):
            server.wait_healthy(LIMIT_S)
        other.shutdown()


def test_helper_process_that_ends_while_the_server_starts_is_no_failure(launch):
    """Broken: a compiler, ldconfig or hardware probe that ends during start-up counts as a failed server."""
    server = launch("helper")
    server.wait_healthy(LIMIT_S)
    server.check_alive()


def test_server_that_dies_later_is_noticed(launch):
    """Broken: a server that dies while it is measured is not noticed."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    child = pids_of(server)[1]
    kill(child)
    wait_until(lambda: server.exit_code is not None, "the launcher's end")
    with pytest.raises(ServerFailed, match="was killed by signal SIGKILL"):
        server.check_alive()


def test_end_of_one_process_of_the_server_is_noticed(launch, tmp_path):
    """Broken: the capture waits for an HTTP process whose scheduler has ended."""
    server = launch(f"grandchild={tmp_path / 'pid'}")
    server.wait_healthy(LIMIT_S)
    grandchild = pid_in(tmp_path / "pid")
    kill(grandchild)
    wait_ended(grandchild)
    with pytest.raises(ServerFailed, match=rf"a process of the server ended \(pid {grandchild}\)"):
        server.check_alive()


def test_stopped_process_of_the_server_is_a_failure(launch, monkeypatch):
    """Broken: after SIGSTOP every request times out, and the phase takes hours to fail."""
    monkeypatch.setattr(server_module, "STOPPED_S", 0.2)
    server = launch()
    server.wait_healthy(LIMIT_S)
    child = pids_of(server)[1]
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(ServerFailed, match=f"stopped by a signal .pid {child};"):
        wait_until(server.check_alive, "the stop to be noticed")


def test_server_that_is_stopped_while_it_starts_is_a_failure(launch, monkeypatch):
    """Broken: the run waits for startup_s (10 minutes, 30 on a TPU) for what can never come."""
    monkeypatch.setattr(server_module, "STOPPED_S", 0.2)
    server = launch("helper")
    launcher = psutil.Process(server.pid())
    wait_until(launcher.children, "the server's process")
    (child,) = launcher.children()
    child.suspend()
    with pytest.raises(ServerFailed, match=f"stopped by a signal .pid {child.pid};"):
        server.wait_healthy(LIMIT_S)


def test_process_that_was_stopped_for_a_moment_is_no_failure(launch):
    """Broken: a run is given up for a pause that it survives."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    child = pids_of(server)[1]
    os.kill(child, signal.SIGSTOP)
    server.check_alive()
    os.kill(child, signal.SIGCONT)
    server.check_alive()
    assert server._stop_watch.stopped_too_long(server._watched.members) is None


def test_failure_shows_only_the_end_of_a_long_log(tmp_path):
    """Broken: a failure repeats the whole log."""
    log = ServerLog(tmp_path / "server.log", Redactor())
    for number in range(100):
        log.note(f"line {number}")
    assert log.tail().splitlines() == [f"scoreprof-nb: line {number}" for number in range(75, 100)]
    log.close()


def test_stop_leaves_no_process(launch):
    """Broken: a process of the server survives a stop."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    pids = pids_of(server)
    server.stop()
    assert [pid for pid in pids if lives(pid)] == []


@pytest.mark.parametrize("switch", ["grandchild", "daemon"])
def test_stop_ends_grandchildren_that_ignore_sigterm(launch, tmp_path, monkeypatch, switch):
    """Broken: a process that ignores SIGTERM, or runs in its own session, keeps the chip."""
    monkeypatch.setattr(server_module, "STOP_S", 0.5)
    server = launch("deaf", f"{switch}={tmp_path / 'pid'}")
    server.wait_healthy(LIMIT_S)
    pids = [*pids_of(server), pid_in(tmp_path / "pid")]
    server.stop()
    assert [pid for pid in pids if lives(pid)] == []


def test_stop_ends_grandchildren_of_a_server_that_is_dead_already(launch, tmp_path):
    """Broken: grandchildren of a server that is already dead survive a stop."""
    server = launch(f"grandchild={tmp_path / 'pid'}")
    server.wait_healthy(LIMIT_S)
    grandchild = pid_in(tmp_path / "pid")
    try:
        kill(pids_of(server)[1])
        wait_until(lambda: server.exit_code is not None, "the launcher's end")
        assert lives(grandchild)
        server.stop()
        assert not lives(grandchild)
    finally:
        kill(grandchild)


def test_stop_ends_a_daemon_of_a_server_that_never_got_healthy(launch, tmp_path):
    """Broken: processes of a server that never became healthy are left running."""
    server = launch("sick", f"daemon={tmp_path / 'pid'}")
    daemon = pid_in(tmp_path / "pid")
    try:
        server.stop()
        assert not lives(daemon)
    finally:
        kill(daemon)


def test_stop_twice_and_after_a_death_is_no_error(launch):
    """Broken: a second stop raises an error."""
    server = launch("dies")
    with pytest.raises(ServerFailed):
        server.wait_healthy(LIMIT_S)
    server.stop()
    server.stop()
    assert server.exit_code == 3


def test_stop_spares_processes_that_are_not_the_servers(launch):
    """Broken: a stop ends processes of somebody else."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        try:
            server = launch()
            server.wait_healthy(LIMIT_S)
            server.stop()
            assert other.poll() is None
        finally:
            other.kill()


def test_processes_of_a_server_that_is_gone_are_a_server_failure(launch):
    """Broken: a server that dies between two checks ends the run with a traceback."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    kill(server.pid())
    wait_until(lambda: server.exit_code is not None, "the launcher's end")
    with pytest.raises(ServerFailed):
        server.processes()


def test_clock_of_a_dead_server_can_be_switched(launch):
    """Broken: switching the clock of a dead server raises an error."""
    server = launch("dies")
    wait_until(lambda: server.exit_code is not None, "the server's end")
    server.enable_clock(True)
    server.enable_clock(False)


# ---- temporary files


def test_temporary_files_of_the_server_are_removed_with_it(launch, tmp_path):
    """Broken: each run leaves the server's sockets in /tmp for ever."""
    server = launch("socket")
    server.wait_healthy(LIMIT_S)
    (line,) = [line for line in server.log.lines() if line.startswith("socket ")]
    socket_path = Path(line.removeprefix("socket "))
    assert socket_path.is_socket()
    assert socket_path.parent != Path(tempfile.gettempdir())
    assert len(str(socket_path)) < 60  # the kernel takes 107 bytes
    server.stop()
    assert not socket_path.parent.exists()


@pytest.mark.parametrize("switch", ["dies", "sick"])
def test_temporary_files_are_removed_when_the_start_fails(launch, tmp_path, switch):
    """Broken: a failed start leaves temporary files behind."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    server = launch("socket", switch, environment={"TMPDIR": str(temporary)})
    with pytest.raises(ServerFailed):
        server.wait_healthy(1.0 if switch == "sick" else LIMIT_S)
    server.stop()
    assert list(temporary.iterdir()) == []


def test_command_that_cannot_be_started_leaves_nothing(tmp_path, monkeypatch):
    """Broken: a command that cannot be started leaves files or processes behind."""
    monkeypatch.setattr(server_module.sys, "executable", str(tmp_path / "missing"))
    temporary = tmp_path / "t"
    temporary.mkdir()
    server = LaunchedServer(["x"], {"TMPDIR": str(temporary)}, 1, tmp_path / "log", Redactor(), cwd=tmp_path)
    with pytest.raises(FileNotFoundError):
        server.start()
    server.stop()
    assert list(temporary.iterdir()) == []


# ---- the log


def test_log_lines_have_the_kits_time_and_no_secret(launch, tmp_path):
    """Broken: requests cannot be matched with batches by time, or the shared log contains a secret."""
    before_s = time.time()
    server = launch("--api-key", SECRET)
    server.wait_healthy(LIMIT_S)
    server.stop()
    lines = (tmp_path / "server.log").read_text().splitlines()
    assert all(re.fullmatch(r"\d{10}\.\d{6} .*", line) for line in lines)
    assert [line[18:] for line in lines[1:]] == [f"api_key='{MASK}' starting", "ready"]
    assert all(before_s - 1 < float(line[:17]) < time.time() + 1 for line in lines)
    assert SECRET not in "\n".join(lines)
    assert SECRET not in "\n".join(server.log.lines())
    assert "scoreprof-nb: launching " in lines[0]


def test_secret_flag_is_not_in_the_process_list(launch):
    """Broken: the report's list of processes shows a secret."""
    server = launch("--api-key", SECRET)
    server.wait_healthy(LIMIT_S)
    commands = [process.command for process in server.processes()]
    assert any(f"--api-key {MASK}" in command for command in commands)
    assert all(SECRET not in command for command in commands)


# ---- ports


def test_port_in_use_is_a_parameter_error():
    """Broken: the server loads its model for minutes and then fails to bind its port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ParameterError, match=rf"port={port}: cannot be used \(.*in use\); use 0 for a free port"
        ):
            check_port_free(port)


def test_free_port_is_free():
    """Broken: the kit launches a server on a port that is taken."""
    check_port_free(free_port())
