"""py-spy's speedscope files: one ``sampled`` profile per thread, frames root first.

The format: https://github.com/jlfwong/speedscope/wiki/Importing-from-custom-sources. py-spy's
``weights`` are the constant 1 / rate; there are no times in the file.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from scoreprof_nb.stacks.labels import Place, process_frame, split_place, thread_frame
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    Skipped,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
SHOWN = 200  # characters of what could not be read
_PROFILE_NAME = re.compile(r'Process (\d{1,10}) Thread (\d{1,20})(?: "(.*)")?', re.DOTALL)


def read_speedscope(path: Path) -> StackTable:
    """Read a file of py-spy's ``--format speedscope``.

    Samples that name another thread within a profile become threads of their own (py-spy merges
    threads that reuse an id). What cannot be read is counted in ``skipped``. Raises ImportFailed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFailed(f"{path}: cannot be read: {error}") from error
    return parse_speedscope(text, str(path))


def parse_speedscope(text: str, where: str) -> StackTable:
    """Like read_speedscope, from the file's text; ``where`` is named in errors."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{where}: not JSON: {error}") from error
    profiles = document.get("profiles") if isinstance(document, dict) else None
    shared = document.get("shared") if isinstance(document, dict) else None
    raw_frames = shared.get("frames") if isinstance(shared, dict) else None
    if not isinstance(profiles, list) or not isinstance(raw_frames, list):
        raise ImportFailed(f"{where}: not a speedscope file: it lacks profiles or shared.frames")
    reader = _Reader(raw_frames)
    for number, profile in enumerate(profiles):
        reader.add_profile(number, profile)
    if not reader.builder.n_threads:
        reasons = "; ".join(f"{part.where}: {part.why}" for part in reader.builder.skipped[:3])
        raise ImportFailed(f"{where}: holds no sampled profile of a thread. {reasons}")
    return reader.builder.build(ordered=True, interval_s=reader.interval_s())


class _Reader:
    def __init__(self, raw_frames: list[Any]) -> None:
        self.builder = StackTableBuilder()
        self._frames: list[Frame | None] = []
        self._weights: Counter[float] = Counter()
        for number, raw in enumerate(raw_frames):
            frame = _frame(raw)
            if frame is None:
                self._skip(f"frame {number}", "not a frame with a name", raw)
            self._frames.append(frame)

    def interval_s(self) -> float | None:
        """The most frequent weight."""
        return self._weights.most_common(1)[0][0] if self._weights else None

    def add_profile(self, number: int, profile: Any) -> None:
        where = f"profile {number}"
        if not isinstance(profile, dict) or profile.get("type") != "sampled":
            self._skip(where, "not a sampled profile", profile)
            return
        samples = profile.get("samples")
        if not isinstance(samples, list):
            self._skip(where, "has no list of samples", profile)
            return
        self._count_weights(where, profile.get("weights"), len(samples))
        default = _place_of_name(profile.get("name"))
        known: dict[tuple[int, ...], tuple[Place | None, int]] = {}
        by_place: dict[Place, list[int]] = {}
        place = default
        for index, sample in enumerate(samples):
            key = self._key(sample)
            if key is None:
                self._skip(f"{where}, sample {index}", "not a list of frame numbers", sample)
                continue
            if key not in known:
                known[key] = self._split(key)
            named, stack_id = known[key]
            place = named or place
            by_place.setdefault(place, []).append(stack_id)
        for thread, stack_ids in by_place.items():
            self.builder.add_thread(_samples(thread, stack_ids))

    def _key(self, sample: Any) -> tuple[int, ...] | None:
        if not isinstance(sample, list):
            return None
        for index in sample:
            if type(index) is not int or not 0 <= index < len(self._frames) or self._frames[index] is None:
                return None
        return tuple(sample)

    def _split(self, key: tuple[int, ...]) -> tuple[Place | None, int]:
        frames = [frame for index in key if (frame := self._frames[index]) is not None]
        place, taken = split_place([frame.name for frame in frames])
        return place, self.builder.stack_id([self.builder.frame_id(frame) for frame in frames[taken:]])

    def _count_weights(self, where: str, weights: Any, n: int) -> None:
        if not isinstance(weights, list) or len(weights) != n:
            self._skip(where, "its weights do not belong to its samples", weights)
            return
        for weight in weights:
            if type(weight) in (int, float) and 0 < weight < float("inf"):
                self._weights[float(weight)] += 1

    def _skip(self, where: str, why: str, what: Any) -> None:
        self.builder.skipped.append(Skipped(where, why, repr(what)[:SHOWN]))


def _frame(raw: Any) -> Frame | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        return None
    file, line = raw.get("file"), raw.get("line")
    return Frame(raw["name"], file if isinstance(file, str) else "", line if type(line) is int else None)


def _place_of_name(name: Any) -> Place:
    match = _PROFILE_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        return Place(thread=name if isinstance(name, str) else "")
    return Place(pid=int(match[1]), tid=int(match[2]), thread=match[3] or "")


def _samples(place: Place, stack_ids: list[int]) -> ThreadSamples:
    return ThreadSamples(
        pid=place.pid,
        tid=place.tid,
        process=place.process,
        thread=place.thread,
        stack_ids=np.array(stack_ids, dtype=np.int32),
        parents=place.parents,
    )


def write_speedscope(table: StackTable, path: Path, *, name: str) -> None:
    """Write an ordered table as py-spy would. Ancestors' pids are not in a table: they are written as 0."""
    frames: dict[tuple[str, str, int | None], int] = {}

    def number(label: str, file: str = "", line: int | None = None) -> int:
        return frames.setdefault((label, file, line), len(frames))

    interval_s = table.interval_s or 1.0
    stacks = [[number(frame.name, frame.file, frame.line) for frame in stack] for stack in table.stacks()]
    profiles = []
    for thread in table.threads:
        before = [number(process_frame(0, command)) for command in thread.parents]
        before.append(number(process_frame(thread.pid, thread.process)))
        before.append(number(thread_frame(thread.tid, thread.thread)))
        profiles.append(
            {
                "type": "sampled",
                "name": f'Process {thread.pid} Thread {thread.tid} "{thread.thread}"',
                "unit": "seconds",
                "startValue": 0.0,
                "endValue": thread.ticks * interval_s,
                "samples": [before + stacks[stack_id] for stack_id in thread.stack_ids],
                "weights": [interval_s] * thread.ticks,
            }
        )
    document = {
        "$schema": SCHEMA,
        "exporter": "scoreprof-nb",
        "name": name,
        "activeProfileIndex": 0,
        "profiles": profiles,
        "shared": {"frames": [_raw_frame(*place) for place in frames]},
    }
    path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _raw_frame(name: str, file: str, line: int | None) -> dict[str, Any]:
    raw: dict[str, Any] = {"name": name}
    if file:
        raw["file"] = file
    if line is not None:
        raw["line"] = line
    return raw
