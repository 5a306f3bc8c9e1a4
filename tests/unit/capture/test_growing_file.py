"""Lines of a file that another program writes: each once, whole, in order, also when logs are rotated."""

import threading
from collections.abc import Iterator

import pytest

from scoreprof_nb.capture import growing_file
from scoreprof_nb.capture.growing_file import GrowingFile
from tests.support.standin import WAIT_S, wait_until


class Reading:
    """A file that is read in a thread. ``lines``: so far."""

    def __init__(self, path):
        self.lines = []
        self._file = GrowingFile(path)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._file:
            self.lines.append(line)

    def wait_for(self, *lines):
        wait_until(lambda: self.lines == list(lines), f"{lines}, not {self.lines}")

    def end(self):
        self._file.stop()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.lines


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "server.log"
    path.write_bytes(b"of an earlier day\n")
    return path


@pytest.fixture
def reading(log) -> Iterator[Reading]:
    one = Reading(log)
    yield one
    one.end()


def append(path, text):
    with path.open("ab") as file:
        file.write(text)


def test_lines_from_now_on_are_read_as_they_come(log, reading):
    """Broken: a batch is placed at the end of the run, or yesterday's are counted."""
    append(log, b"one\ntwo\n")
    reading.wait_for(b"one\n", b"two\n")
    append(log, b"three\n")
    reading.wait_for(b"one\n", b"two\n", b"three\n")


def test_line_that_comes_in_pieces_is_one(log, reading):
    """Broken: half of a line is no batch, and the other half neither."""
    append(log, b"Prefill ba")
    append(log, b"tch\nnext")
    reading.wait_for(b"Prefill batch\n")
    append(log, b" one\n")
    reading.wait_for(b"Prefill batch\n", b"next one\n")


def test_what_is_there_when_it_stops_is_read(log, reading):
    """Broken: the last batches of a run are missing."""
    append(log, b"last\nwithout an end")
    assert reading.end() == [b"last\n", b"without an end"]


def test_rotated_log_is_followed(log, reading):
    """Broken: after midnight the report knows of no batch."""
    append(log, b"old\n")
    reading.wait_for(b"old\n")
    log.rename(log.with_suffix(".1"))
    log.write_bytes(b"new\n")
    reading.wait_for(b"old\n", b"new\n")


def test_log_that_is_cut_is_followed(log, reading):
    """Broken: after `> server.log` the report knows of no batch."""
    append(log, b"before\n")
    reading.wait_for(b"before\n")
    log.write_bytes(b"after\n")
    reading.wait_for(b"before\n", b"after\n")


def test_line_without_an_end_does_not_take_all_memory(log, monkeypatch):
    """Broken: a server that writes binary data fills the kit's memory."""
    monkeypatch.setattr(growing_file, "LONGEST_LINE", 4)
    reading = Reading(log)
    append(log, b"abcdefghij\n")
    wait_until(lambda: b"".join(reading.lines) == b"abcdefghij\n", "all of it")
    assert max(map(len, reading.end())) <= 8


def test_progress_bar_is_one_line(log, reading):
    """Broken: each of its states is a line of the log."""
    append(log, b"1%\r2%\r")
    append(log, b"3%\n")
    reading.wait_for(b"1%\r2%\r3%\n")


def test_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        GrowingFile(tmp_path / "missing")
