"""Record the stored captures of ``two_processes.py`` anew, with the py-spy of this Python environment.

    python tests/captures/make_captures.py

Local paths are replaced by neutral ones; a file that still contains a local path is not stored.
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
ARGUMENT = 'it says "a; b"\nand 3'  # never read: it makes the command line hard to parse
LIMIT_BYTES = 150_000
NEUTRAL_PATHS = {
    sysconfig.get_path("stdlib"): "/usr/lib/python3.12",
    sys.executable: "/usr/bin/python3",
    str(Path(sys.executable).resolve()): "/usr/bin/python3",
    str(HERE): "/app",
}


def record(pid: int, kind: str, output: Path, *, seconds: float) -> None:
    """Record ``pid`` and its children for ``seconds``. py-spy writes its file on SIGINT."""
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
        raise SystemExit(f"py-spy exited with {pyspy.returncode}")


def neutral(text: str, paths: dict[str, str]) -> str:
    """Return the text with each local path replaced, longest first. Raises SystemExit if a local path is left."""
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(path, paths[path])
    local = r"/(?:root|tmp|work|home|opt|Users)/|\.pyenv|\b" + re.escape(socket.gethostname()) + r"\b"
    match = re.search(local, text)
    if match:
        raise SystemExit(f"a local path is left: {text[match.start() - 40 : match.end() + 80]!r}")
    return text


def main() -> None:
    target = subprocess.Popen(
        [sys.executable, HERE / "two_processes.py", ARGUMENT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert target.stdout is not None
        target.stdout.readline()
        time.sleep(1.0)  # time for the child to import its modules and start its threads
        for kind, name in [
            ("speedscope", "two_processes.speedscope.json"),
            ("raw", "two_processes.folded"),
            ("chrometrace", "two_processes.chrometrace.json"),
        ]:
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / name
                record(target.pid, kind, output, seconds=RECORD_S)
                text = neutral(output.read_text(), NEUTRAL_PATHS)
            if len(text) > LIMIT_BYTES:
                raise SystemExit(f"{name}: {len(text)} bytes, more than {LIMIT_BYTES}")
            (HERE / name).write_text(text)
    finally:
        target.send_signal(signal.SIGINT)
        target.wait(timeout=10)


if __name__ == "__main__":
    main()
