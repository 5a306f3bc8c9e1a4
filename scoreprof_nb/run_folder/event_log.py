"""Progress for Cloud Logging: with SCOREPROF_LOG=json, one JSON object per event and line beside the text.

``severity``, ``time`` and ``message`` are the fields that Cloud Logging knows (cloud.google.com/logging/docs/
structured-logging); ``event`` is progress, error or end; further fields may follow.
"""

import json
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scoreprof_nb.run_folder.plain_text import plain_text

LOG = "SCOREPROF_LOG"
RUN_NAME = "RUN_NAME"  # the name of a Kubernetes Job
_PHASE = re.compile(r"\bphase (\w+) \(")
_BLOCK = re.compile(r"\bblock (\d+) of ")
_PAIR = re.compile(r"\bpair (\d+), (control|test)\b")


def print_event(severity: str, event: str, message: str, **fields: Any) -> None:
    """Print the event as a line of JSON, if that is wanted."""
    if os.environ.get(LOG) != "json":
        return
    entry = {
        "severity": severity,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "message": message,
        "event": event,
        **({"run": os.environ[RUN_NAME]} if RUN_NAME in os.environ else {}),
        **fields,
    }
    print(json.dumps(entry, ensure_ascii=True), flush=True)


@dataclass
class ProgressLog:
    """Prints lines of progress with the seconds since its start, and the events of these lines."""

    started_s: float = field(default_factory=time.monotonic)
    phase: str | None = None

    def __call__(self, text: str) -> None:
        text = plain_text(text)
        elapsed_s = time.monotonic() - self.started_s
        print(f"[{elapsed_s:6.1f} s] {text}", flush=True)
        phase, block, pair = (pattern.search(text) for pattern in (_PHASE, _BLOCK, _PAIR))
        if pair and not text.startswith(" "):  # the line that announces a run
            self.phase = None
        self.phase = phase[1] if phase else self.phase
        fields = {
            "elapsed_s": round(elapsed_s, 1),
            "phase": self.phase,
            "block": int(block[1]) if block else None,
            "pair": int(pair[1]) if pair else None,
            "side": pair[2] if pair else None,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        print_event("INFO", "progress", text.strip(), **known)
