"""What a comparison's change comes from, in one sentence: the component, and the function in it."""

import numpy as np
import pandas as pd

from scoreprof_nb.comparison import claims
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.report.format import signed
from scoreprof_nb.report.what_if_marks import see
from scoreprof_nb.stacks.table import short_path

_OPEN = (claims.INCONCLUSIVE, claims.INSUFFICIENT, claims.NOT_KNOWN)
_MOST = 0.5  # of a component's change: a function with less is not named
_KEYS = ["process", "thread", "function", "file"]


def cause_text(comparison: Comparison) -> str:
    """The component whose change explains most of the change of the headline that changed most, and its
    function; empty when no headline changed, or no component is known."""
    changed = comparison.metrics[
        (comparison.metrics["role"] == HEADLINE)
        & ~comparison.metrics["verdict"].isin([claims.NO_CHANGE, *_OPEN])
        & comparison.metrics["ratio"].notna()
    ]
    if changed.empty:
        return ""
    row = changed.iloc[int(np.abs(np.log(changed["ratio"].to_numpy(dtype=np.float64))).argmax())]
    slower = row["ratio"] > 1
    components = comparison.components[
        (comparison.components["phase"] == row["phase"])
        & ((comparison.components["change_ms"] > 0) == slower)
        & comparison.components["change_ms"].notna()
    ]
    if components.empty:
        return ""
    largest = components.iloc[int(components["change_ms"].abs().to_numpy().argmax())]
    known = np.isfinite([largest["low"], largest["high"]]).all()
    interval = f" ({signed(largest['low'])} to {signed(largest['high'])})" if known else ""
    change = (
        f"{largest['component']} {signed(largest['change_ms'])} ms{interval} per request of {row['phase']}"
        f"{_function_text(comparison, largest)}"
        f"{see(comparison.of_phase(row['phase']), largest['component'])}"
    )
    shown = not largest["verdict"].endswith(tuple(_OPEN)) and largest["verdict"] != claims.NO_CHANGE
    if shown:
        return f"Largest cause: {change}"
    return f"No component alone was shown to be the cause; the largest change is {change}"


def _function_text(comparison: Comparison, component: "pd.Series[float]") -> str:
    """``, of it +10.0 ms in f (a.py)``: the function of the component whose self time changed most, if that
    is most of the component's change; empty otherwise."""
    phase, change_ms = str(component["phase"]), float(component["change_ms"])
    rows = comparison.functions[comparison.functions["phase"] == phase]
    of_component = _functions_of(comparison, phase, str(component["component"]))
    rows = rows[[key in of_component for key in rows[_KEYS].itertuples(index=False, name=None)]]
    rows = rows[rows["self_change_ms"] * change_ms > 0]
    if rows.empty:
        return ""
    first = rows.iloc[int(rows["self_change_ms"].abs().to_numpy().argmax())]
    if abs(first["self_change_ms"]) < _MOST * abs(change_ms):
        return ""
    return f", of it {signed(first['self_change_ms'])} ms in {first['function']} ({first['file']})"


def _functions_of(comparison: Comparison, phase: str, component: str) -> set[tuple[str, ...]]:
    """The functions whose self time is mostly the component's, in the runs of either side."""
    hot = pd.concat([of_run.threads.hot_functions for of_run in comparison.of_phase(phase)])
    hot = hot.assign(file=hot["file"].map(short_path))
    summed = hot.groupby([*_KEYS, "component"], observed=True)["self_ms"].sum().reset_index()
    largest = summed.loc[summed.groupby(_KEYS, observed=True)["self_ms"].idxmax()]
    return set(largest.loc[largest["component"] == component, _KEYS].itertuples(index=False, name=None))
