"""The what-if experiment in the report: what a millisecond really costs, by function and by component."""

from collections.abc import Iterator

import pandas as pd

from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.what_if import Felt, WhatIfAnalysis
from scoreprof_nb.analysis.what_if_device import DeviceBound
from scoreprof_nb.analysis.what_if_effects import FunctionEffect
from scoreprof_nb.report import format
from scoreprof_nb.report.format import escape_markdown, number, with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.what_if_marks import mark

WIDEST = 1.5  # an interval of a sensitivity that is wider says too little for words
CURVE_COLUMNS = ("phase", "rounds", "function", "which", "value", "low", "high")


def experiments(report: Report) -> Iterator[tuple[str, WhatIfAnalysis]]:
    """The phases that have what-if blocks, by name."""
    for phase in report.analysis.phases:
        if phase.what_if is not None:
            yield phase.name, phase.what_if


def ranking_table(report: Report) -> pd.DataFrame:
    """One row per phase and component, what is felt most first. Columns: phase, component, works ms,
    1 ms costs, really costs ms, the path says ms, remark."""
    rows = []
    for phase, one in experiments(report):
        felt = [_felt_row(phase, row, one) for row in one.ranking]
        rows += felt if one.device is None else [*felt, _device_row(phase, one.device)]
    return pd.DataFrame(rows)


def sensitivity_table(report: Report) -> pd.DataFrame:
    """One row per phase and function. Columns: phase, component, function, calls, put in ms, latency ms,
    1 ms costs, the path says, reading."""
    rows = [
        {
            "phase": phase,
            "component": effect.delayed.component,
            "function": effect.delayed.function.rpartition(":")[2],
            "calls\nper request": number(effect.delayed.calls),
            "put in\nms per request": effect.put_in_ms,
            "latency\nchange, ms": _change(effect.change_ms),
            "1 ms costs\nms": _shown(effect.sensitivity),
            "the path says\nms": _shown(effect.path),
            "reading": reading(effect),
        }
        for phase, one in experiments(report)
        for effect in sorted(one.effects, key=lambda effect: -_order(effect))
    ]
    return pd.DataFrame(rows)


def load_table(report: Report) -> pd.DataFrame:
    """With several in flight: change of throughput and of p99 per ms put in. Empty with one in flight."""
    rows = [
        {
            "phase": phase,
            "component": effect.delayed.component,
            "function": effect.delayed.function.rpartition(":")[2],
            "throughput\n% per ms": _shown(effect.throughput.times(100.0), 2),
            "p99\nms per ms": _shown(effect.p99),
        }
        for phase, one in experiments(report)
        for effect in one.effects
        if effect.throughput.known
    ]
    return pd.DataFrame(rows)


def calibration_table(report: Report) -> pd.DataFrame:
    """What py-spy found of each ms that was put in. Columns: phase, component, function, found, in the path,
    also moved, verdict."""
    rows = [
        {
            "phase": phase,
            "component": effect.delayed.component,
            "function": effect.delayed.function.rpartition(":")[2],
            "samples found\nms per ms": _shown(effect.found),
            "in the path\nms per ms": _shown(effect.path),
            "also moved": ", ".join(f"{name} {format.signed(ms.value, 2)}" for name, ms in effect.moved),
            "verdict": _verdict(effect),
        }
        for phase, one in experiments(report)
        for effect in one.effects
    ]
    return pd.DataFrame(rows)


def sensitivity_curve(report: Report) -> pd.DataFrame:
    """For the figure: columns CURVE_COLUMNS; ``rounds``: of the phase; ``which``: measured or path; ms per ms
    put in."""
    rows = [
        (phase, experiment.record.rounds, _label(effect), which, one.value, one.low, one.high)
        for phase, experiment in experiments(report)
        for effect in sorted(experiment.effects, key=lambda effect: -_order(effect))
        for which, one in (("measured", effect.sensitivity), ("path", effect.path))
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def reading(effect: FunctionEffect) -> str:
    """The sensitivity in words, and whether the path agrees."""
    one = effect.sensitivity
    if not one.known or one.high - one.low > WIDEST:
        text = "too uncertain to say"
    elif one.low > 1.0:
        text = "costs more than itself"
    elif one.high < 0.0:
        text = "latency falls"
    elif one.low <= 0.0 and one.high < 1.0:
        text = "hidden"
    elif one.high < 1.0:
        text = "partly hidden"
    elif one.low > 0.0:
        text = "felt in full"
    else:
        text = "not shown to matter"
    return f"{text}; the path is wrong here" if effect.path_is_wrong else text


def what_if_lead(report: Report) -> str:
    """Markdown: what the experiment shows first, and what it did to the server."""
    texts = []
    for phase, one in experiments(report):
        best = one.ranking[0] if one.ranking else None
        first = (
            f"{phase}: removing {best.component} would save a request about "
            f"{with_interval(best.felt_ms.value, best.felt_ms.low, best.felt_ms.high, ' ms')}, to first order"
            if best is not None and best.felt_ms.low > 0
            else f"{phase}: no component's cost is more than its interval leaves to chance"
        )
        wrong = [effect.delayed.component for effect in one.effects if effect.path_is_wrong]
        texts.append(first + (f"; the request path is wrong for {', '.join(wrong)}" if wrong else ""))
    return escape_markdown(
        f"{'; '.join(texts)}. Each function was delayed by a known time, in short blocks between blocks "
        "without a delay."
    )


def conditions_markdown(report: Report) -> str:
    """Markdown: how the delays were put in, what the wrappers cost, and what is left out."""
    lines = []
    for phase, one in experiments(report):
        record = one.record
        text = (
            f"{phase}: {record.rounds} rounds, {record.recorded_rounds} of them with py-spy; each delay "
            f"{record.kind}s for {number(record.delay_ms)} ms per request. While no delay is on, a wrapper "
            f"costs {number(record.off_ns, 0)} ns per call: {number(one.off_us)} µs per request, always."
        )
        if one.compiles:
            text += f" {one.compiles} requests hit by a compile are left out."
        lines.append(f"- {escape_markdown(text)}")
        for function in one.left_out:
            name = function.function.rpartition(":")[2]
            text = f"{phase}: {function.component} ({name}) is left out: {function.left_out}"
            lines.append(f"- {escape_markdown(text)}")
        lines += [f"- {escape_markdown(f'{phase}: {failure}')}" for failure in one.failures]
    return "\n".join(lines)


def _felt_row(phase: str, row: Felt, one: WhatIfAnalysis) -> dict[str, object]:
    return {
        "phase": phase,
        "component": row.component,
        "works\nms per request": row.busy_ms,
        "1 ms costs\nms": _shown(row.sensitivity),
        "really costs\nms per request": _shown(row.felt_ms, 1),
        "the path says\nms per request": number(row.path_ms),
        "remark": mark(one, row.component),
    }


def _device_row(phase: str, device: DeviceBound) -> dict[str, object]:
    return {
        "phase": phase,
        "component": "device_wait",
        "works\nms per request": device.busy_ms,
        "1 ms costs\nms": format.NOT_KNOWN,
        "really costs\nms per request": f"{number(device.low_ms)} to {number(device.high_ms)}",
        "the path says\nms per request": format.NOT_KNOWN,
        "remark": "cannot be slowed from Python: what the others leave of the latency",
    }


def _verdict(effect: FunctionEffect) -> str:
    if effect.calibrated is None:
        return f"not known: {effect.no_path}" if effect.no_path else "not known"
    if not effect.calibrated:
        more = effect.found.value > 1.0
        return f"fails: the samples find {'more' if more else 'less'} than was put in"
    if effect.path_is_wrong:
        return "samples agree; the path does not"
    return "agrees"


def _order(effect: FunctionEffect) -> float:
    return effect.sensitivity.value if effect.sensitivity.known else -1e9


def _label(effect: FunctionEffect) -> str:
    return f"{effect.delayed.component}: {effect.delayed.function.rpartition('.')[2].rpartition(':')[2]}"


def _shown(one: Estimate, digits: int = 2) -> str:
    return with_interval(one.value, one.low, one.high, digits=digits)


def _change(one: Estimate) -> str:
    return format.change(one.value, one.low, one.high)
