"""The server's log: complete lines, whatever bytes the server writes, and it goes on when a run is resumed."""

import subprocess
import sys

from scoreprof_nb.capture import server_log
from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import read_log


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
    """Broken: a progress bar fills the log with its intermediate states."""
    assert follow(tmp_path, b"a\r10%\r100%\r\nb\r\n") == ["100%", "b"]


def test_log_survives_bytes_that_are_no_text_and_a_last_line_without_end(tmp_path):
    """Broken: undecodable bytes or a missing line end lose the rest of the log."""
    assert follow(tmp_path, b"caf\xff\n\nlast") == ["caf\ufffd", "", "last"]
    assert read_log(tmp_path / "server.log")["text"].tolist() == ["caf\ufffd", "", "last"]


def test_log_of_a_resumed_run_goes_on(tmp_path):
    """Broken: a resumed run overwrites the log of its first phases."""
    for number in (1, 2):
        log = ServerLog(tmp_path / "server.log", Redactor())
        log.note(f"launch {number}")
        assert log.lines() == [f"scoreprof-nb: launch {number}"]
        log.close()
    assert len(read_log(tmp_path / "server.log")) == 2


def test_lines_can_be_read_on_from_a_number(tmp_path):
    """Broken: a reader of new lines gets old ones again."""
    log = ServerLog(tmp_path / "server.log", Redactor())
    for text in "abc":
        log.note(text)
    assert log.lines(2) == ["scoreprof-nb: c"]
    assert log.lines(3) == []
    log.close()


def test_long_log_is_on_disk_and_not_in_memory(tmp_path, monkeypatch):
    """Broken: the memory of a capture grows with the server's log; or a reader of the rest gets other lines."""
    monkeypatch.setattr(server_log, "KEPT_LINES", 10)
    log = ServerLog(tmp_path / "server.log", Redactor())
    for number in range(25):
        log.note(str(number))
    log.close()
    words = [line.rpartition(" ")[2] for line in log.lines()]
    assert words == [str(number) for number in range(15, 25)]
    assert [line.rpartition(" ")[2] for line in log.lines(22)] == ["22", "23", "24"]
    assert log.lines(25) == []
    assert log.written == 25 == len(read_log(tmp_path / "server.log"))
