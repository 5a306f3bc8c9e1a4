"""Read one recording in a process of its own, and print what that cost.

    python -m tests.bench.read_once kit|orjson|json FILE

Prints JSON: ``cpu_s``, the processor time of reading the file and of what follows, and ``peak_bytes``, by how much
the process grew at most. Imports, and the compilation of the rules, come before both.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def kit() -> Callable[[Path], object]:
    """The kit's import: a stack table, and the component of every tick."""
    from scoreprof_nb.components.classify import classify
    from scoreprof_nb.components.rules import load_rules
    from scoreprof_nb.stacks.recording import read_recording

    rules = load_rules()
    return lambda path: classify(read_recording(path), rules)


def orjson() -> Callable[[Path], object]:
    """The fastest general JSON reader for Python; nothing is made of what it reads."""
    import orjson

    return lambda path: orjson.loads(path.read_bytes())


def plain_json() -> Callable[[Path], object]:
    """Python's own."""
    return lambda path: json.loads(path.read_bytes())


READERS = {"kit": kit, "orjson": orjson, "json": plain_json}


def _peak_bytes() -> int:
    """The largest resident size so far; unlike ``getrusage``, without what the parent had before ``exec``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def main(name: str, file: str) -> None:
    read = READERS[name]()
    before_bytes, before_s = _peak_bytes(), time.process_time()
    kept = read(Path(file))
    cpu_s = time.process_time() - before_s
    print(json.dumps({"cpu_s": cpu_s, "peak_bytes": _peak_bytes() - before_bytes}))
    del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
