"""Make the stored captures of ``two_processes.py`` again, with the py-spy beside this Python.

    python tests/captures/make_captures.py

The paths of the machine are replaced by neutral ones; a file that still holds one is not stored.
"""

import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PYSPY = Path(sys.executable).with_name("py-spy")
FLAGS = ["--subprocesses", "--threads", "--idle", "--nonblocking", "--full-filenames", "--rate", "100"]
RECORD_S = 2.0
ARGUMENT = 'it says "a; b"\nand 3'  # nothing reads it: it is there for the command line
LIMIT_BYTES = 150_000
PLACES = {
    sysconfig.get_path("stdlib"): "/usr/lib/python3.12",
    sys.executable: "/usr/bin/python3",
    str(Path(sys.executable).resolve()): "/usr/bin/python3",
    str(HERE): "/app",
}


def record(pid: int, kind: str, output: Path, *, seconds: float) -> None:
    """Record ``pid`` and its children. SIGINT makes py-spy write its file."""
    command: list[str | Path] = [
        PYSPY,
        "record",
        "--pid",
        str(pid),
        *FLAGS,
        "--format",
        kind,
        "--output",
        output,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as pyspy:
        time.sleep(seconds)
        pyspy.send_signal(signal.SIGINT)
        pyspy.wait(timeout=30)
    if pyspy.returncode:
        raise SystemExit(f"py-spy ended with {pyspy.returncode}")


def neutral(text: str, places: dict[str, str]) -> str:
    """The text with each place replaced, the longest first; refused if it names a place of this machine."""
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, places[place])
    own = r"/(?:root|tmp|work|home|opt|Users)/|\.pyenv|\b" + re.escape(socket.gethostname()) + r"\b"
    found = re.search(own, text)
    if found:
        raise SystemExit(f"a path of this machine is left: {text[found.start() - 40 : found.end() + 80]!r}")
    return text


def main() -> None:
    target = subprocess.Popen(
        [sys.executable, HERE / "two_processes.py", ARGUMENT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert target.stdout is not None
        target.stdout.readline()
        time.sleep(1.0)  # the child has imported its modules and started its threads
        for kind, name in [("speedscope", "two_processes.speedscope.json"), ("raw", "two_processes.folded")]:
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / name
                record(target.pid, kind, output, seconds=RECORD_S)
                text = neutral(output.read_text(), PLACES)
            if len(text) > LIMIT_BYTES:
                raise SystemExit(f"{name}: {len(text)} bytes, more than {LIMIT_BYTES}")
            (HERE / name).write_text(text)
    finally:
        target.send_signal(signal.SIGINT)
        target.wait(timeout=10)


if __name__ == "__main__":
    main()
