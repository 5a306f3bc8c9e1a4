"""The server under test: launched, watched, logged, and never left behind."""

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from scoreprof_nb.capture import server as server_module
from scoreprof_nb.capture.attached_server import AttachedServer
from scoreprof_nb.capture.server import LaunchedServer, ServerFailed, check_port_free, free_port
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import MASK, Redactor
from scoreprof_nb.run_folder.store import read_log
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
    """Not only after startup_s, which is 10 minutes, and with the reason from its log."""
    server = launch(switch)
    with pytest.raises(ServerFailed) as caught:
        server.wait_healthy(LIMIT_S)
    message = str(caught.value)
    assert f"the server {how}. The end of its log:\n" in message
    assert "starting" in message
    assert ("cannot load the model" in message) == (switch == "dies")
    assert SECRET not in message


def test_server_that_never_gets_healthy(launch):
    server = launch("sick")
    wait_until(lambda: "ready" in server.log.lines(), "the server's start")
    with pytest.raises(
        ServerFailed, match=r"did not become healthy within 1 s \(parameter startup_s\).*\n(.*\n)*ready"
    ):
        server.wait_healthy(1.0)
    server.check_alive()


def test_helper_process_that_ends_while_the_server_starts_is_no_failure(launch):
    """A compiler, ldconfig or a hardware probe comes and goes before the server is healthy."""
    server = launch("helper")
    server.wait_healthy(LIMIT_S)
    server.check_alive()


def test_server_that_dies_later_is_noticed(launch):
    server = launch()
    server.wait_healthy(LIMIT_S)
    child = pids_of(server)[1]
    kill(child)
    wait_until(lambda: server.exit_code is not None, "the launcher's end")
    with pytest.raises(ServerFailed, match="was killed by signal SIGKILL"):
        server.check_alive()


def test_end_of_one_process_of_the_server_is_noticed(launch, tmp_path):
    """Without its scheduler the HTTP process answers nothing: do not wait for it."""
    server = launch(f"grandchild={tmp_path / 'pid'}")
    server.wait_healthy(LIMIT_S)
    grandchild = pid_in(tmp_path / "pid")
    kill(grandchild)
    wait_ended(grandchild)
    with pytest.raises(ServerFailed, match=rf"a process of the server ended \(pid {grandchild}\)"):
        server.check_alive()


def test_failure_shows_only_the_end_of_a_long_log(tmp_path):
    log = ServerLog(tmp_path / "server.log", Redactor())
    for number in range(100):
        log.note(f"line {number}")
    assert log.tail().splitlines() == [f"scoreprof-nb: line {number}" for number in range(75, 100)]
    log.close()


def test_stop_leaves_no_process(launch):
    server = launch()
    server.wait_healthy(LIMIT_S)
    pids = pids_of(server)
    server.stop()
    assert [pid for pid in pids if lives(pid)] == []


@pytest.mark.parametrize("switch", ["grandchild", "daemon"])
def test_stop_ends_grandchildren_that_ignore_sigterm(launch, tmp_path, monkeypatch, switch):
    """``daemon`` is one with a session of its own. The chip stays taken as long as one of them runs."""
    monkeypatch.setattr(server_module, "STOP_S", 0.5)
    server = launch("deaf", f"{switch}={tmp_path / 'pid'}")
    server.wait_healthy(LIMIT_S)
    pids = [*pids_of(server), pid_in(tmp_path / "pid")]
    server.stop()
    assert [pid for pid in pids if lives(pid)] == []


def test_stop_ends_grandchildren_of_a_server_that_is_dead_already(launch, tmp_path):
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
    """Its processes were not listed since its launch."""
    server = launch("sick", f"daemon={tmp_path / 'pid'}")
    daemon = pid_in(tmp_path / "pid")
    try:
        server.stop()
        assert not lives(daemon)
    finally:
        kill(daemon)


def test_stop_twice_and_after_a_death_is_no_error(launch):
    server = launch("dies")
    with pytest.raises(ServerFailed):
        server.wait_healthy(LIMIT_S)
    server.stop()
    server.stop()
    assert server.exit_code == 3


def test_stop_spares_processes_that_are_not_the_servers(launch):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        try:
            server = launch()
            server.wait_healthy(LIMIT_S)
            server.stop()
            assert other.poll() is None
        finally:
            other.kill()


def test_processes_of_a_server_that_is_gone_are_a_server_failure(launch):
    """The server may die between two checks: that is a result of the run, not a traceback."""
    server = launch()
    server.wait_healthy(LIMIT_S)
    kill(server.pid())
    wait_until(lambda: server.exit_code is not None, "the launcher's end")
    with pytest.raises(ServerFailed):
        server.processes()


def test_clock_of_a_dead_server_can_be_switched(launch):
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
    temporary = tmp_path / "t"
    temporary.mkdir()
    server = launch("socket", switch, environment={"TMPDIR": str(temporary)})
    with pytest.raises(ServerFailed):
        server.wait_healthy(1.0 if switch == "sick" else LIMIT_S)
    server.stop()
    assert list(temporary.iterdir()) == []


def test_command_that_cannot_be_started_leaves_nothing(tmp_path, monkeypatch):
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
    """Requests are matched with batches by these times; the file is shared."""
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
    server = launch("--api-key", SECRET)
    server.wait_healthy(LIMIT_S)
    assert all(SECRET not in process.command for process in server.processes())


def follow(tmp_path, content):
    """What ServerLog makes of a process's output."""
    log = ServerLog(tmp_path / "server.log", Redactor())
    program = f"import sys; sys.stdout.buffer.write({content!r})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        log.follow(process.stdout)
        process.wait()
        log.close()
    return log.lines()


def test_log_keeps_the_last_state_of_a_progress_bar(tmp_path):
    assert follow(tmp_path, b"a\r10%\r100%\r\nb\r\n") == ["100%", "b"]


def test_log_survives_bytes_that_are_no_text_and_a_last_line_without_end(tmp_path):
    assert follow(tmp_path, b"caf\xff\n\nlast") == ["caf\ufffd", "", "last"]
    assert read_log(tmp_path / "server.log")["text"].tolist() == ["caf\ufffd", "", "last"]


def test_log_of_a_resumed_run_goes_on(tmp_path):
    """The lines of the first phases must stay."""
    for number in (1, 2):
        log = ServerLog(tmp_path / "server.log", Redactor())
        log.note(f"launch {number}")
        assert log.lines() == [f"scoreprof-nb: launch {number}"]
        log.close()
    assert len(read_log(tmp_path / "server.log")) == 2


def test_lines_can_be_read_on_from_a_number(tmp_path):
    log = ServerLog(tmp_path / "server.log", Redactor())
    for text in "abc":
        log.note(text)
    assert log.lines(2) == ["scoreprof-nb: c"]
    assert log.lines(3) == []
    log.close()


# ---- ports


def test_port_in_use_is_a_parameter_error():
    """The server would load its model for minutes and then fail to bind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ParameterError, match=rf"port={port}: cannot be used \(.*in use\); use 0 for a free port"
        ):
            check_port_free(port)


def test_free_port_is_free():
    check_port_free(free_port())


# ---- attached


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
    """It is somebody's server: profiling must not end it."""
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
    process, url = running
    server = AttachedServer(url, Redactor())
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(ServerFailed, match=rf"a process of the server at .* ended \(pid {process.pid}\)"):
        server.check_alive()
    with pytest.raises(ServerFailed, match="/health does not answer"):
        server.wait_healthy(0.3)


def test_nobody_listens_at_the_url():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ParameterError, match=f"server_url='{url}': no process that this user can see"):
        AttachedServer(url, Redactor())


def test_server_of_another_machine_is_refused(running):
    """py-spy reads the memory of local processes."""
    _, url = running
    with pytest.raises(ParameterError, match="py-spy needs the server on this machine"):
        AttachedServer(url.replace("127.0.0.1", "192.0.2.1"), Redactor())
