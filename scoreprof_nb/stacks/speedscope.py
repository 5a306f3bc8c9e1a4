"""py-spy's speedscope JSON: one ``sampled`` profile per thread, its samples in time order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TypeGuard

import numpy as np

from scoreprof_nb.stacks import compact_json
from scoreprof_nb.stacks.compact_json import Samples, Weights
from scoreprof_nb.stacks.labels import (
    Labels,
    bounded,
    parse_profile_name,
    process_frame,
    profile_name,
    read_bytes,
    split_labels,
    thread_frame,
)
from scoreprof_nb.stacks.table import (
    Frame,
    ImportFailed,
    Skipped,
    StackTable,
    StackTableBuilder,
    ThreadSamples,
)

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
UNIT_S = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
MAX_INTERVAL_S = 1e9  # a longer one is not a time


def read_speedscope(path: Path) -> StackTable:
    """Read a speedscope file of py-spy.

    The table is ordered and has one ``ThreadSamples`` per thread: several for a profile in which py-spy
    merged threads, as it does when a thread reuses the id of one that ended. ``interval_s`` is the
    constant weight in seconds, None if there is none. A sample, frame or profile that cannot be read is
    in ``skipped``. Raises ImportFailed if the file cannot be read at all or has no usable profile.
    """
    return parse_speedscope(read_bytes(path), str(path))


def parse_speedscope(data: bytes, where: str) -> StackTable:
    """As ``read_speedscope``, from the file's content. ``where`` names it in messages."""
    try:
        document = compact_json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportFailed(f"{where}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ImportFailed(f"{where}: not a JSON object but {bounded(document)}")
    profiles = document.get("profiles")
    if not isinstance(profiles, list):
        raise ImportFailed(f"{where}: `profiles` is not a list but {bounded(profiles)}")

    builder = StackTableBuilder()
    frames = _read_frames(document, where, builder)
    intervals = {}
    for number, profile in enumerate(profiles):
        place = f"profiles[{number}]"
        wrong = _unusable(profile)
        if wrong:
            builder.skipped.append(Skipped(place, wrong, bounded(profile)))
        elif _read_profile(profile, place, frames, builder):
            intervals[place] = _interval_s(profile, place, builder)
    table = builder.build(ordered=True, interval_s=_common(intervals, builder))
    if not table.threads:
        reason = f"{table.skipped[0].where}: {table.skipped[0].why}" if table.skipped else "it lists none"
        raise ImportFailed(f"{where}: no usable profile ({reason})")
    return table


def write_speedscope(table: StackTable, path: Path, *, name: str) -> None:
    """Write an ordered table to a file that speedscope opens and ``read_speedscope`` can read again.

    Not written: ``skipped``, the parents' process ids (the table has none), and the command lines of
    a thread without ticks. Without ``interval_s`` every tick weighs 1, without a unit. Raises NotOrdered
    for a table that is not ordered: the file would state an order in time.
    """
    table.require_order()
    frames: list[dict[str, object]] = [
        {"name": frame.name, "file": frame.file} | ({} if frame.line is None else {"line": frame.line})
        for frame in table.frames
    ]
    label_ids: dict[str, int] = {}
    stacks = [
        table.frame_ids[first:last].tolist()
        for first, last in zip(table.offsets[:-1], table.offsets[1:], strict=True)
    ]
    weight, unit = (1.0, "none") if table.interval_s is None else (table.interval_s, "seconds")
    profiles = []
    for thread in table.threads:
        labels = [process_frame(0, parent) for parent in thread.parents]
        labels += [process_frame(thread.pid, thread.process), thread_frame(thread.tid, thread.thread)]
        prefix = [len(frames) + label_ids.setdefault(label, len(label_ids)) for label in labels]
        samples = {stack_id: prefix + stacks[stack_id] for stack_id in np.unique(thread.stack_ids).tolist()}
        profiles.append(
            {
                "type": "sampled",
                "name": profile_name(thread.pid, thread.tid, thread.thread),
                "unit": unit,
                "startValue": 0.0,
                "endValue": thread.ticks * weight,
                "samples": [samples[stack_id] for stack_id in thread.stack_ids.tolist()],
                "weights": [weight] * thread.ticks,
            }
        )
    frames += [{"name": label, "file": ""} for label in label_ids]
    document = {
        "$schema": SCHEMA,
        "exporter": "scoreprof_nb",
        "name": name,
        "shared": {"frames": frames},
        "profiles": profiles,
    }
    path.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False), encoding="ascii")


def _read_frames(
    document: Mapping[str, object], where: str, builder: StackTableBuilder
) -> list[Frame | None]:
    """``shared.frames``, with None in place of an entry that is not a frame."""
    shared = document.get("shared")
    listed = shared.get("frames") if isinstance(shared, dict) else None
    if not isinstance(listed, list):
        raise ImportFailed(f"{where}: `shared.frames` is not a list but {bounded(listed)}")
    frames: list[Frame | None] = []
    for number, entry in enumerate(listed):
        frame = _frame(entry)
        if frame is None:
            builder.skipped.append(Skipped(f"shared.frames[{number}]", "not a frame", bounded(entry)))
        frames.append(frame)
    return frames


def _frame(entry: object) -> Frame | None:
    if not isinstance(entry, dict):
        return None
    name, file, line = entry.get("name"), entry.get("file"), entry.get("line")
    if not isinstance(name, str) or not isinstance(file, str | None) or type(line) not in (int, type(None)):
        return None
    return Frame(name, file or "", line)


def _unusable(profile: object) -> str | None:
    """Why a profile cannot be read at all; None if it can."""
    if not isinstance(profile, dict):
        return "not an object"
    if profile.get("type") != "sampled":
        return f"type {bounded(profile.get('type'))!r}, not 'sampled'"
    if not isinstance(profile.get("samples"), Samples):
        return "`samples` is not a list"
    return None


def _read_profile(
    profile: Mapping[str, object], place: str, frames: list[Frame | None], builder: StackTableBuilder
) -> bool:
    """Add a profile's threads; False if none of its samples can be read."""
    samples, name = profile["samples"], profile.get("name")
    assert isinstance(samples, Samples)
    fallback = parse_profile_name(name) if isinstance(name, str) else Labels()
    threads: dict[tuple[int, int], tuple[int, Labels]] = {}  # by pid and tid: number in the profile, labels
    if not samples.distinct:
        threads[fallback.pid, fallback.tid] = 0, fallback
    thread_of = np.full(len(samples.distinct), -1)
    stack_of = np.full(len(samples.distinct), -1, dtype=np.int32)
    usable = {number for number, frame in enumerate(frames) if frame is not None}
    frame_ids = _FrameIds(frames, builder)
    known_labels: dict[tuple[int, ...], tuple[Labels, int]] = {}  # by the leading frames without a file
    for number, sample in enumerate(samples.distinct):
        if not _is_stack(sample, usable):
            ticks = np.flatnonzero(samples.ids == number).tolist()
            wrong, text = _what_is_wrong(sample, frames), bounded(sample)
            builder.skipped += [Skipped(f"{place}.samples[{tick}]", wrong, text) for tick in ticks]
            continue
        leading = tuple(takewhile(frame_ids.without_file.__contains__, sample))
        if leading not in known_labels:
            known_labels[leading] = split_labels([frame_ids.frame(index) for index in leading], fallback)
        labels, used = known_labels[leading]
        index, known = threads.setdefault((labels.pid, labels.tid), (len(threads), labels))
        if labels.thread and not known.thread:  # py-spy did not know the name at first
            threads[labels.pid, labels.tid] = index, replace(known, thread=labels.thread)
        thread_of[number] = index
        stack_of[number] = builder.stack_id(list(map(frame_ids.__getitem__, sample[used:])))
    for pid, tid in [key for key in threads if key[1] == 0]:  # py-spy did not know the thread's id at first
        known_ids = [key for key in threads if key[0] == pid and key[1] != 0]
        if len(known_ids) == 1:
            thread_of[thread_of == threads.pop((pid, tid))[0]] = threads[known_ids[0]][0]
    for index, labels in threads.values():
        ids = stack_of[samples.ids[thread_of[samples.ids] == index]]
        builder.add_thread(
            ThreadSamples(labels.pid, labels.tid, labels.process, labels.thread, ids, labels.parents)
        )
    return bool(threads)


class _FrameIds(dict[int, int]):
    """The builder's id of a frame by its index in the file; frames get their ids as they are first used."""

    def __init__(self, frames: Sequence[Frame | None], builder: StackTableBuilder) -> None:
        self._frames = frames
        self._builder = builder
        self.without_file = {
            index for index, frame in enumerate(frames) if frame is not None and not frame.file
        }

    def __missing__(self, index: int) -> int:
        return self.setdefault(index, self._builder.frame_id(self.frame(index)))

    def frame(self, index: int) -> Frame:
        frame = self._frames[index]
        assert frame is not None
        return frame


def _is_stack(sample: object, usable: set[int]) -> TypeGuard[list[int]]:
    """Whether a sample is a list of indices of usable frames."""
    return isinstance(sample, list) and set(map(type, sample)) <= {int} and usable.issuperset(sample)


def _what_is_wrong(sample: object, frames: Sequence[Frame | None]) -> str:
    """Why a sample is not a stack."""
    if not isinstance(sample, list):
        return "not a list of frame indices"
    for index in sample:
        if type(index) is not int:
            return f"frame index {bounded(index)} is not a whole number"
        if not 0 <= index < len(frames):
            return f"frame index {bounded(index)} is out of range, there are {len(frames)} frames"
        if frames[index] is None:
            return f"frame {index} cannot be read"
    raise AssertionError("it is a stack")


def _interval_s(profile: Mapping[str, object], place: str, builder: StackTableBuilder) -> float | None:
    """The profile's time between ticks; None if it is not known, with a note unless it has no unit."""
    samples, weights, unit = profile["samples"], profile.get("weights"), profile.get("unit")
    assert isinstance(samples, Samples)
    if not isinstance(weights, Weights) or weights.count != len(samples.ids):
        found = weights.count if isinstance(weights, Weights) else "no"
        wrong = f"{found} weights for {len(samples.ids)} samples"
        builder.skipped.append(Skipped(f"{place}.weights", wrong, bounded(weights)))
        return None
    if unit == "none" or not weights.count:
        return None
    if not isinstance(unit, str) or unit not in UNIT_S:
        builder.skipped.append(Skipped(f"{place}.unit", "not a unit of time", bounded(unit)))
        return None
    weight = weights.constant
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < MAX_INTERVAL_S:
        builder.skipped.append(Skipped(f"{place}.weights", "not one constant time", bounded(weight)))
        return None
    return weight * UNIT_S[unit]


def _common(intervals: Mapping[str, float | None], builder: StackTableBuilder) -> float | None:
    """The interval of all profiles; None, and a note, if they differ."""
    known = {interval for interval in intervals.values() if interval is not None}
    if len(known) > 1:
        builder.skipped.append(Skipped("profiles", "their intervals differ", bounded(sorted(known))))
    return known.pop() if len(known) == 1 else None
