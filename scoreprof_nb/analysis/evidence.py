"""Which functions a component's time is spent in, with a line to open in an editor."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from scoreprof_nb.analysis.breakdown import WorkingStack, working_stacks
from scoreprof_nb.analysis.ticks import PhaseTicks
from scoreprof_nb.engines.sglang_jax_analysis import ENTRY_FUNCTIONS, SERVER_PACKAGE
from scoreprof_nb.stacks.table import Frame, short_path

EVIDENCE_COLUMNS = (
    *("phase", "component", "process", "thread", "function", "file", "line", "innermost"),
    *("ms", "share", "stack"),
)
_SHOWN_FRAMES = 8
_INSTALLED = "/site-packages/"


def evidence(ticks: PhaseTicks, served: float) -> pd.DataFrame:
    """Where each component is: columns EVIDENCE_COLUMNS, the most time first.

    ``function``, ``file`` and ``line``: the innermost frame in the server's own package (see `own_frame`):
    the place that somebody who works on the server can change. ``innermost``:
    function and file that the time is spent in. ``ms``: wall time of the thread per request; ``share``: of
    the component's time in the phase, 0 to 1; ``stack``: the most frequent stack, innermost frame first.
    Empty if no request was answered.
    """
    groups: dict[tuple[str, str, str, str, str], list[WorkingStack]] = {}
    total = Counter[str]()
    if served > 0:
        for stack in working_stacks(ticks):
            if stack.frames:
                own = own_frame(stack.frames)
                key = (stack.component, stack.role.process, stack.role.thread, own.name, own.file)
                groups.setdefault(key, []).append(stack)
                total[stack.component] += stack.samples
    rows = []
    for (component, process, thread, function, file), stacks in groups.items():
        most = max(stacks, key=lambda stack: stack.samples)
        rows.append(
            {
                "phase": ticks.phase.name,
                "component": component,
                "process": process,
                "thread": thread,
                "function": function,
                "file": short_path(file),
                "line": _usual_line(stacks),
                "innermost": _innermost(stacks),
                "ms": sum(stack.wall_ms for stack in stacks) / served,
                "share": sum(stack.samples for stack in stacks) / total[component],
                "stack": stack_text(most.frames),
            }
        )
    table = pd.DataFrame(rows, columns=list(EVIDENCE_COLUMNS))
    return table.sort_values(["ms", "function"], ascending=[False, True], ignore_index=True)


def own_frame(frames: Sequence[Frame]) -> Frame:
    """The innermost frame in the server's package; without one, in any installed package; or else of all.

    An access log, for example, is written in the standard library, for uvicorn, which is the one to open.
    """
    inner = [f for f in frames if f.name not in ENTRY_FUNCTIONS]
    own = [f for f in inner if SERVER_PACKAGE in f.file]
    installed = [f for f in inner if _INSTALLED in f.file and SERVER_PACKAGE not in f.file]
    return (own or installed or list(frames))[-1]


def stack_text(frames: Sequence[Frame]) -> str:
    """The innermost frames, the innermost first, one per line."""
    shown = [frame_text(frame) for frame in reversed(frames[-_SHOWN_FRAMES:])]
    return "\n".join(shown)


def frame_text(frame: Frame) -> str:
    """``function (file:line)``, with the file from its package on."""
    line = "" if frame.line is None else f":{frame.line}"
    return f"{frame.name} ({short_path(frame.file)}{line})"


def _usual_line(stacks: Sequence[WorkingStack]) -> int | None:
    """The line that the function is at most often."""
    lines = Counter[int]()
    for stack in stacks:
        line = own_frame(stack.frames).line
        if line is not None:
            lines[line] += stack.samples
    return max(lines, key=lambda line: (lines[line], -line)) if lines else None


def _innermost(stacks: Sequence[WorkingStack]) -> str:
    leaves = Counter[str]()
    for stack in stacks:
        leaf = stack.frames[-1]
        leaves[f"{leaf.name} ({short_path(leaf.file)})"] += stack.samples
    return max(leaves, key=lambda text: (leaves[text], text))
