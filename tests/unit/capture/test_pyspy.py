"""py-spy: its output is understood, its failures are reported, and its target is never left stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import psutil
import pytest

from scoreprof_nb.capture import pyspy, pyspy_recording
from scoreprof_nb.capture.pyspy import MODE_FLAGS, check_may_trace, thread_ids
from scoreprof_nb.capture.pyspy_recording import PySpyRecording
from scoreprof_nb.capture.recorder import RecorderFailed
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.redact import MASK, Redactor
from tests.support.standin import kill, lives, wait_ended, wait_until

SECRET = "s3cr3tvalue42"
SPIN = """
import threading, time
def spin_for_a_moment():
    deadline = time.monotonic() + 0.002
    while time.monotonic() < deadline:
        pass
def work():
    while True:
        spin_for_a_moment()
        time.sleep(0.002)
threading.Thread(target=work, name="worker", daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module", autouse=True)
def _may_trace():
    try:
        check_may_trace()
    except ParameterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def target():
    """A Python process with two threads and a secret in its command line."""
    command = [sys.executable, "-c", SPIN, "--api-key", SECRET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def record(target, tmp_path):
    """``record()`` attaches to the target; each py-spy is ended."""
    started = []

    def start(pid=None, output=tmp_path / "recording.json", rate_hz=100, mode="nonblocking", ids=None):
        started.append(
            PySpyRecording.start(
                pyspy.executable(),
                pid or target.pid,
                output,
                rate_hz,
                MODE_FLAGS[mode],
                Redactor(),
                ids or {},
            )
        )
        return started[-1]

    yield start
    for recording in started:
        recording.kill()


def sampled(py_spy, seconds=0.5):
    time.sleep(seconds)
    return py_spy.stop()


# ---- a real recording


def test_recording_has_a_file_samples_and_our_wall_clock(record, tmp_path):
    """Broken: a recording has no samples, or its times are not on the kit's wall clock."""
    before_s = time.time()
    recording = sampled(record())
    after_s = time.time()
    assert recording.failure is None
    assert recording.file == "recording.json"
    assert before_s <= recording.started_s
    assert recording.started_s + 0.5 <= recording.stopped_s <= after_s
    assert recording.rate_hz == 100
    assert recording.samples > 0
    assert recording.errors is not None
    profiles = json.loads((tmp_path / "recording.json").read_text())["profiles"]
    assert sum(len(profile["samples"]) for profile in profiles) == recording.samples
    assert len(profiles) == 2
    assert "spin_for_a_moment" in (tmp_path / "recording.json").read_text()


def test_secret_of_the_command_line_is_not_in_the_recording(record, tmp_path):
    """Broken: py-spy's file, which holds the command line of every process, publishes a secret."""
    assert sampled(record(), 0.2).failure is None
    text = (tmp_path / "recording.json").read_text()
    assert "--api-key" in text
    assert SECRET not in text
    assert MASK in text


def test_recording_with_a_redacted_command_line_can_be_read(record, tmp_path):
    """Broken: redaction leaves a file that is no longer JSON, and the phase has no stacks."""
    recording = sampled(record(), 0.2)
    profiles = json.loads((tmp_path / "recording.json").read_text())["profiles"]
    assert sum(len(profile["samples"]) for profile in profiles) == recording.samples


@pytest.mark.parametrize("mode", ["blocking", "nonblocking"])
def test_target_goes_on_after_a_recording(record, target, mode):
    """Broken: py-spy stops or ends the server in one of its modes."""
    recording = sampled(record(mode=mode), 0.2)
    assert recording.failure is None
    assert target.poll() is None
    assert psutil.Process(target.pid).status() != psutil.STATUS_STOPPED


def test_target_that_ends_leaves_its_recording(record, target):
    """Broken: the samples before the server's end are lost."""
    py_spy = record()
    time.sleep(0.3)
    target.kill()
    target.wait()
    wait_until(lambda: py_spy._process.poll() is not None, "py-spy's end")
    recording = py_spy.stop()
    assert recording.failure is None
    assert recording.samples > 0


# ---- failures


def test_process_without_python_is_reported_in_pyspys_words(record):
    """Broken: the user does not see py-spy's own reason."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with pytest.raises(RecorderFailed, match=r"did not start to sample: .*[Ee]rror.*python"):
                record(pid=process.pid)
            assert process.poll() is None
        finally:
            process.kill()


def test_process_that_is_gone_is_a_pyspy_failure(record):
    """Broken: a server that ends while py-spy attaches raises something that the capture does not expect."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(RecorderFailed):
        record(pid=process.pid)


def test_pyspy_that_is_killed_is_a_recording_without_file(record, tmp_path):
    """Broken: a py-spy that was killed before it wrote its file looks like an empty recording."""
    py_spy = record()
    py_spy._process.kill()
    py_spy._process.wait()
    recording = py_spy.stop()
    assert recording.file is None
    assert recording.samples is None
    assert "py-spy exited with code -9 and wrote no recording" in recording.failure
    assert not (tmp_path / "recording.json").exists()


def test_output_that_cannot_be_written_is_a_failure_with_pyspys_words(record, tmp_path):
    """Broken: a full or missing folder gives no reason."""
    recording = sampled(record(output=tmp_path / "missing" / "recording.json"), 0.1)
    assert recording.file is None
    assert "no recording" in recording.failure
    assert "No such file" in recording.failure


def test_pyspy_that_does_not_end_is_killed(record, monkeypatch):
    """Broken: the capture waits forever for a py-spy that does not end."""
    monkeypatch.setattr(pyspy_recording, "STOP_S", 0.5)
    py_spy = record()
    time.sleep(0.3)  # its SIGINT handler is installed a moment after it reports that it samples
    os.kill(py_spy._process.pid, signal.SIGSTOP)
    recording = py_spy.stop()
    assert recording.file is None
    assert "did not exit within" in recording.failure
    assert not lives(py_spy._process.pid)


def test_pyspy_that_does_not_start_to_sample_is_killed(record, target, monkeypatch, tmp_path):
    """Broken: the capture waits forever for a py-spy that never samples."""
    mute = tmp_path / "mute"
    mute.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho cannot\nexec sleep 60\n")
    mute.chmod(0o755)
    monkeypatch.setattr(pyspy, "executable", lambda: str(mute))
    monkeypatch.setattr(pyspy_recording, "START_S", 0.5)
    with pytest.raises(RecorderFailed, match="did not start to sample: cannot"):
        record()
    pid = int((tmp_path / "pid").read_text())
    try:
        assert not lives(pid)
    finally:
        kill(pid)
    assert target.poll() is None


def test_kill_continues_a_stopped_target(record, target):
    """Broken: a py-spy that hangs in blocking mode leaves the server stopped for good."""
    py_spy = record()
    os.kill(target.pid, signal.SIGSTOP)
    process = psutil.Process(target.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the target's stop")
    py_spy.kill()
    wait_until(lambda: process.status() != psutil.STATUS_STOPPED, "the target's going on")
    wait_ended(py_spy._process.pid)


def test_pyspy_may_exit_cleanly_before_it_is_killed(record):
    """Broken: stopping the run kills py-spy in the middle of a read of the server's memory."""
    py_spy = record()
    time.sleep(0.3)  # its SIGINT handler is installed a moment after it reports that it samples
    py_spy.kill()
    assert py_spy._process.returncode == 0


def test_hanging_pyspy_does_not_delay_a_stop(record):
    """Broken: a stop waits for a py-spy that hangs."""
    py_spy = record()
    time.sleep(0.3)  # its SIGINT handler is installed a moment after it reports that it samples
    os.kill(py_spy._process.pid, signal.SIGSTOP)
    py_spy.kill()
    assert py_spy._process.returncode == -signal.SIGKILL


def test_kill_after_the_target_is_gone_is_no_error(record, target):
    """Broken: cleaning up after the server has ended raises an error."""
    py_spy = record()
    target.kill()
    target.wait()
    py_spy.kill()
    py_spy.kill()


def test_no_permission_is_a_parameter_error_with_the_reason(monkeypatch, tmp_path):
    """Broken: missing permission is noticed after the launch, without a way to grant it."""
    refusing = tmp_path / "py-spy"
    refusing.write_text("#!/bin/sh\necho 'Permission Denied: Try running again with elevated' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr(pyspy, "executable", lambda: str(refusing))
    with pytest.raises(
        ParameterError, match=r"py_spy_mode='nonblocking': no permission.*Permission Denied.*SYS_PTRACE"
    ):
        check_may_trace()
    assert not [child for child in psutil.Process().children() if child.name().startswith("python")]


def test_no_pyspy_is_a_parameter_error(monkeypatch, tmp_path):
    """Broken: a missing py-spy gives a traceback."""
    monkeypatch.setattr(pyspy.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParameterError, match="py_spy_mode='on': py-spy is not installed"):
        pyspy.executable()


# ---- as a recorder


def test_recorder_assigns_lost_ticks_to_threads(target, tmp_path):
    """Broken: lost ticks have no thread, because the pthread ids were not read before the recording."""
    recorder = pyspy.PySpy("nonblocking", 200, Redactor())
    recorder.check()
    recorder.observe([target.pid])
    output = tmp_path / f"recording{recorder.suffix}"
    running = recorder.start(target.pid, output)
    recording = sampled(running)
    assert recording.failure is None
    assert (recording.file, recording.rate_hz) == (output.name, 200)
    assert running._thread_ids == {target.pid: thread_ids(target.pid)}


def test_redacting_a_recording_changes_texts_only(tmp_path):
    """Broken: redaction changes numbers, or leaves a file that is not JSON."""
    path = tmp_path / "recording.json"
    frames = [{"name": f'process 1:"run --api-key {SECRET} \\"x\\""'}, {"name": "main"}]
    content = {"frames": frames, "samples": [[0, 1], [1]], "weights": [0.01, 0.01]}
    path.write_text(json.dumps(content))
    pyspy_recording.redact_recording(path, Redactor())
    clean = json.loads(path.read_text())
    assert clean["samples"] == content["samples"]
    assert clean["frames"][1] == {"name": "main"}
    assert clean["frames"][0]["name"] == frames[0]["name"].replace(SECRET, MASK)


# ---- threads


def test_main_thread_has_the_pid_as_its_id(target):
    """Broken: the pthread ids in py-spy's errors cannot be mapped to the OS ids in its recordings."""
    ids = thread_ids(target.pid)
    tids = {thread.id for thread in psutil.Process(target.pid).threads()}
    assert len(ids) == 2
    assert target.pid in ids.values()
    assert set(ids.values()) <= tids


def test_pthread_ids_are_those_of_python(tmp_path):
    """Broken: lost ticks are assigned to the wrong thread."""
    program = "import threading, time; print(threading.get_ident(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            ident = int(process.stdout.readline())
            assert thread_ids(process.pid) == {ident: process.pid}
        finally:
            process.kill()


def test_thread_ids_that_cannot_be_known_are_none():
    """Broken: made-up thread ids are used for a process that cannot be read."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert thread_ids(process.pid) == {}
        finally:
            process.kill()
    assert thread_ids(process.pid) == {}


# ---- py-spy's output


@pytest.mark.parametrize(
    ("output", "behind_s"),
    [
        ("py-spy> 2.86s behind in sampling, results may be inaccurate. Try reducing the sampling rate", 2.86),
        ("1.5s behind in sampling\n950.25ms behind in sampling\n3.00s behind in sampling", 3.0),
        ("990.5ms behind in sampling", 0.9905),
        ("", 0.0),
        ("Samples: 12 Errors: 0", 0.0),
    ],
)
def test_largest_delay(output, behind_s):
    """Broken: the report does not say how far py-spy fell behind."""
    assert pyspy_recording._largest_delay_s(output) == pytest.approx(behind_s)


def scripted(tmp_path, monkeypatch, words):
    """A recording by a program that prints the words, and exits with 0 on SIGINT."""
    text, output = tmp_path / "words", tmp_path / "recording.json"
    text.write_text(words)
    output.write_text("{}")
    program = tmp_path / "py-spy"
    # Not a shell script: a shell cannot trap what is ignored when it starts, as in a background job.
    program.write_text(
        f"#!{sys.executable} -S\nimport signal, sys, time\nsignal.signal(2, lambda *_: sys.exit(0))\n"
        f"print(open({str(text)!r}).read(), end='', flush=True)\nwhile True:\n    time.sleep(0.05)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(pyspy, "executable", lambda: str(program))
    return output


def test_every_error_line_is_a_lost_tick_with_time_process_and_thread(record, tmp_path, monkeypatch):
    """Broken: busy ticks, which are lost most often, are restored at the wrong time or in the wrong thread."""
    words = (
        "py-spy> Sampling process 100 times a second. Press Control-C to exit.\n"
        "[2026-03-01T12:00:00.123456789Z WARN  py_spy] Failed to get stack trace from 11: "
        "Failed to call get_stack_trace for thread 140001: bad address\n"
        "[2026-03-01T12:00:01.000000001Z WARN  py_spy::sampler] Failed to get stack trace from 11: "
        "Failed to get thread list for thread 777\n"
        "[2026-03-01T12:00:02.500000000Z WARN  py_spy] Failed to get stack trace from 12: gone\n"
        "[2026-03-01T12:00:02.5Z INFO  py_spy] something else about 12\n"
        "py-spy> 1.25s behind in sampling, results may be inaccurate.\n"
        "py-spy> Wrote speedscope file. Samples: 4321 Errors: 3\n"
    )
    output = scripted(tmp_path, monkeypatch, words)
    recording = sampled(record(output=output, ids={11: {140001: 15}}), 0.3)
    start_s = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    assert recording.failure is None
    assert [(round(at_s - start_s, 6), pid, tid) for at_s, pid, tid in recording.lost] == [
        (0.123456, 11, 15),
        (1.0, 11, 0),
        (2.5, 12, 0),
    ]
    assert (recording.samples, recording.errors, recording.behind_s) == (4321, 3, 1.25)


def test_counts_that_were_not_printed_are_unknown(record, tmp_path, monkeypatch):
    """Broken: counts that py-spy did not print are shown as 0."""
    output = scripted(tmp_path, monkeypatch, "py-spy> Sampling process 100 times a second.\n")
    recording = sampled(record(output=output), 0.1)
    assert (recording.samples, recording.errors, recording.lost) == (None, None, ())


def test_words_of_a_real_recording_are_understood(record, target):
    """Broken: a version of py-spy with other output silently loses the counts."""
    recording = sampled(record(rate_hz=500), 0.6)
    assert recording.samples is not None
    assert recording.errors is not None
    assert len(recording.lost) == recording.errors
    assert {pid for _, pid, _ in recording.lost} <= {target.pid}
    assert all(recording.started_s - 1 <= at_s <= recording.stopped_s + 1 for at_s, _, _ in recording.lost)


def test_no_thread_of_ours_is_left(record):
    """Broken: the thread that reads py-spy's output outlives it."""
    before = set(threading.enumerate())
    sampled(record(), 0.1)
    wait_until(lambda: set(threading.enumerate()) <= before, "the reader's end")
