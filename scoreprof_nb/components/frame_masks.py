"""Which patterns match a frame, for all frames of a recording at once.

Functions and files are matched apart, each distinct one once: thousands of frames are in hundreds of files.
A function without wildcards is looked up, not compared with every pattern.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence

from scoreprof_nb.components.rule_set import Pattern, unqualified
from scoreprof_nb.stacks.table import Frame

_WILDCARDS = frozenset("*?[")


def frame_masks(patterns: Sequence[Pattern], frames: Sequence[Frame]) -> list[int]:
    """A mask for each frame, with bit ``i`` set when pattern ``i`` matches it."""
    files = _bits(pattern.file for pattern in patterns)
    functions = _bits(pattern.function for pattern in patterns)
    globs = {
        re.compile(fnmatch.translate(function)): functions.pop(function)
        for function in list(functions)
        if _WILDCARDS.intersection(function)
    }
    any_function = functions.get("", 0)

    def in_file(file: str) -> int:
        return sum(bits for part, bits in files.items() if part in f"/{file}")

    def of_function(name: str) -> int:
        matching = sum(bits for glob, bits in globs.items() if glob.match(name))
        return functions.get(name, 0) | any_function | matching

    by_file = {file: in_file(file) for file in {frame.file for frame in frames}}
    by_name = {name: of_function(unqualified(name)) for name in {frame.name for frame in frames}}
    return [by_file[frame.file] & by_name[frame.name] for frame in frames]


def _bits(texts: Iterable[str]) -> dict[str, int]:
    """For each distinct text a mask of its places; the masks have no bit in common."""
    bits: dict[str, int] = {}
    for place, text in enumerate(texts):
        bits[text] = bits.get(text, 0) | 1 << place
    return bits
