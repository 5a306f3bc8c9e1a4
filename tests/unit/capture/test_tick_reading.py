"""When py-spy samples is seen from outside: its own reads agree with the launcher's clock."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scoreprof_nb.analysis.clock import clock_times
from scoreprof_nb.analysis.tick_reads import map_reads, root_times
from scoreprof_nb.capture import tick_reader
from scoreprof_nb.capture.launcher import SLOT_S
from scoreprof_nb.capture.pyspy import PySpy, check_may_trace
from scoreprof_nb.capture.recorder import RecorderFailed
from scoreprof_nb.capture.server import LAUNCHER
from scoreprof_nb.capture.tick_reading import _RECORD, TickReading
from scoreprof_nb.components.classify import classify
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import READS_SCHEMA, read_table
from scoreprof_nb.stacks.recording import read_recording
from tests.support.standin import wait_handlers, wait_until

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
RECORD_S = 1.5
ATTEMPTS = 4


@pytest.fixture
def launched():
    """The launcher with its clock on, and a child."""
    try:
        check_may_trace()
    except ParameterError as error:
        pytest.skip(str(error))
    process = subprocess.Popen(
        [sys.executable, str(LAUNCHER), sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    wait_handlers(process.pid)  # the child may be up before them
    process.send_signal(signal.SIGUSR2)
    yield process
    process.terminate()
    process.communicate()


def recorded(launched, folder):
    """The times of a recording's ticks by py-spy's reads, or why they are not known, and by the clock."""
    output, reads = folder / "recording.speedscope.json", folder / "reads.parquet"
    reading = TickReading(reads)
    with reading:
        running = PySpy("nonblocking", 100, Redactor()).start(launched.pid, output, reading.follow)
        time.sleep(RECORD_S)
        recording = running.stop()
    assert reading.file == reads.name
    assert not reads.with_suffix(".records").exists()
    table = read_recording(output)
    activities = classify(table, load_rules())
    counts = read_table(reads, READS_SCHEMA)
    times, why = root_times(counts, map_reads([counts]), activities, recording)
    return times, why, clock_times(activities, table, recording)


def test_reads_show_when_each_tick_was(launched, tmp_path):
    """Broken: samples of an attached server are put into the moments before or after.

    Most ticks agree to a slot of the clock and a reading of the counts; a busy machine delays the reading, and
    may spoil a recording, which then is refused: one of several must agree.
    """
    reasons = []
    for number in range(ATTEMPTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            times, why, clock = recorded(launched, folder)
        except RecorderFailed as error:  # so busy that py-spy could not read a process that had just started
            times, why = None, str(error)
        if times is not None:
            assert len(clock) == len(times)
            apart, shifted = np.median(np.abs(times - clock)), np.median(np.abs(times[1:] - clock[:-1]))
            if apart < min(SLOT_S, shifted / 2):
                return
            why = f"{apart} s from the clock, {shifted} s from the tick before"
        reasons.append(why)
    raise AssertionError(reasons)


def test_reader_that_fails_costs_the_times_only(tmp_path):
    """Broken: a machine whose kernel does not count reads cannot be profiled at all."""
    reading = TickReading(tmp_path / "reads.parquet")
    with reading:
        reading.follow(2**30)  # no such process
    assert reading.file is None


def test_reader_ends_with_its_parent(tmp_path):
    """Broken: a killed notebook leaves a reader that runs for ever."""
    reading = TickReading(tmp_path / "reads.parquet")
    with reading:
        process = reading._reader.process
        reading.follow(os.getpid())
        process.stdin.close()
        wait_until(lambda: process.poll() is not None, "its end")


def test_record_is_the_readers():
    """Broken: the table holds other bytes than the reader wrote."""
    assert _RECORD.itemsize == tick_reader.RECORD.size
    assert _RECORD.names == tuple(READS_SCHEMA.names)
