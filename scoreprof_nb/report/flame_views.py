"""The flame graphs of a run: all phases together and each alone, in ms per request."""

from collections.abc import Iterator, Sequence

import pandas as pd

from scoreprof_nb.analysis.breakdown import working_stacks
from scoreprof_nb.analysis.run_analysis import PhaseAnalysis
from scoreprof_nb.components.component import Catalog
from scoreprof_nb.flamegraph.page import View, flame_frame
from scoreprof_nb.flamegraph.svg import FrameNode, flame_graph, merge_stacks
from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.profile import Report

Stack = tuple[Sequence[str], str, float]  # labels of the frames, root first; component; ms per request
BOX_COLUMNS = ("process", "depth", "x", "width", "label", "component", "ms")
_ALL = "all phases"
MOST_OF_A_FRAME = 0.7  # a component must have so much of a frame to give it its colour


def flame_stacks(phases: Sequence[PhaseAnalysis]) -> Iterator[Stack]:
    """The stacks of working threads: the mean of the phases, each in ms per request."""
    # A phase whose requests all failed has no mean.
    served = [phase for phase in phases if phase.threads.served > 0]
    for phase in served:
        for stack in working_stacks(phase.ticks):
            ms = stack.wall_ms / phase.threads.served / len(served)
            yield stack.labels(), stack.component, ms


def run_flame_graph(report: Report) -> str:
    """SVG: what the threads do while they work, all phases together, in ms per request."""
    return _svg(report, _ALL, report.analysis.phases)


def interactive_flame_graph(report: Report) -> Html:
    """A page to zoom and search in, with the phases together and each alone. Empty without stacks."""
    phases = [phase for phase in report.analysis.phases if phase.ticks.blocks]
    shown = [(_ALL, phases)] if len(phases) > 1 else []
    shown += [(phase.name, [phase]) for phase in phases]
    if not shown:
        return Html("")
    return Html(flame_frame([_view(report, name, of_view) for name, of_view in shown]))


def _view(report: Report, name: str, phases: Sequence[PhaseAnalysis]) -> View:
    stacks = list(flame_stacks(phases))
    threads = sorted({labels[0] for labels, _, _ in stacks})
    catalog = report.analysis.catalog
    components = sorted({component for _, component, _ in stacks}, key=catalog.index.__getitem__)
    return View(name, _svg(report, name, phases), threads, components)


def _svg(report: Report, name: str, phases: Sequence[PhaseAnalysis]) -> str:
    phase_names = ", ".join(phase.name for phase in phases)
    return flame_graph(
        flame_stacks(phases),
        title=f"Score API of sglang-jax: {report.analysis.run.manifest.label}, {name}",
        subtitle=f"phases {phase_names}: mean ms per request of each stack, of working threads only",
        unit="ms per request",
        catalog=report.analysis.catalog,
    )


def flame_boxes(stacks: Sequence[Stack], catalog: Catalog) -> pd.DataFrame:
    """The flame graph of each process as boxes, for a picture: columns BOX_COLUMNS.

    The frames that all stacks of a thread share are left out: they hold everything and explain nothing.
    """
    by_process: dict[str, list[Stack]] = {}
    for labels, component, ms in stacks:
        by_process.setdefault(labels[0].partition(" / ")[0], []).append((labels, component, ms))
    shared = _shared_frames(stacks)
    rows: list[tuple[object, ...]] = []
    for process, of_process in by_process.items():
        short = [(_without(labels, shared[labels[0]]), name, ms) for labels, name, ms in of_process]
        frames = merge_stacks(short)
        total = frames[0].weight
        pending = [(0, 0.0)] if total else []
        while pending:
            index, x = pending.pop()
            frame = frames[index]
            rows.append((process, frame.depth, x, *_box(frame, process, total, catalog)))
            for child in sorted(frame.children.values(), key=lambda i: frames[i].label):
                pending.append((child, x))
                x += frames[child].weight / total
    return pd.DataFrame(rows, columns=list(BOX_COLUMNS))


def _box(frame: FrameNode, process: str, total: float, catalog: Catalog) -> tuple[object, ...]:
    label = frame.label if frame.depth else process
    main = frame.main_component(catalog)
    colour = main if frame.weights[main] >= MOST_OF_A_FRAME * frame.weight else ""
    return frame.weight / total, label, colour, frame.weight


def _without(labels: Sequence[str], shared: int) -> Sequence[str]:
    return (labels[0], *labels[1 + shared :])


def _shared_frames(stacks: Sequence[Stack]) -> dict[str, int]:
    """By thread label: how many of the frames after it are the same in all of its stacks."""
    shared: dict[str, Sequence[str]] = {}
    for (thread, *frames), _, _ in stacks:
        common = shared.get(thread, frames)
        n = 0
        while n < min(len(common), len(frames)) and common[n] == frames[n]:
            n += 1
        shared[thread] = common[:n]
    return {thread: len(common) for thread, common in shared.items()}
