"""What a request costs whatever it holds, and what each of its items adds, by component.

A line is fitted to the own milliseconds of each component over the number of items: the question behind
batch sizes. It needs phases with the same load whose requests differ in their number of items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreprof_nb.analysis.distributions import normal_quantile
from scoreprof_nb.analysis.statistics import CONFIDENCE

COLUMNS = (
    *("component", "fixed_ms", "fixed_low", "fixed_high"),
    *("per_item_ms", "per_item_low", "per_item_high", "phases"),
)
UNSEEN_TICKS = 3.0  # what was never seen is, with 95 % confidence, rarer than 3 in n (rule of three)


@dataclass(frozen=True)
class PathAtItems:
    """The request path of one phase. ``path``: component to (mean, low, high) ms; ``tick_ms``: what one
    tick stands for, ms per request."""

    phase: str
    items: int
    path: Mapping[str, tuple[float, float, float]]
    tick_ms: float


def cost_per_item(phases: Sequence[PathAtItems]) -> pd.DataFrame:
    """Columns COLUMNS, the largest first; empty unless two phases differ in their number of items.

    Weighted least squares, weights by the intervals of the phases. The 95 % intervals are those of the
    weights, wider by the Birge ratio where the points lie further from the line than their intervals say
    (Particle Data Group, Review of Particle Physics, 5.2.2): a cost that is not linear has a wide one.
    """
    if len({phase.items for phase in phases}) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    items = np.array([phase.items for phase in phases], dtype=np.float64)
    names = dict.fromkeys(name for phase in phases for name in phase.path)
    shown = ", ".join(phase.phase for phase in phases)
    rows = []
    for name in names:
        means = np.array([phase.path.get(name, (0.0, 0.0, 0.0))[0] for phase in phases])
        errors = np.array([_standard_error(phase, name) for phase in phases])
        (fixed, per_item), (fixed_half, per_item_half) = fitted_line(items, means, errors)
        fixed_row = (fixed, fixed - fixed_half, fixed + fixed_half)
        rows.append((name, *fixed_row, per_item, per_item - per_item_half, per_item + per_item_half, shown))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    size = table["fixed_ms"].abs() + table["per_item_ms"].abs() * items.max()
    return table.loc[size.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def _standard_error(phase: PathAtItems, component: str) -> float:
    """Of the mean; of a component without a tick, from the rule of three."""
    z = normal_quantile(0.5 + CONFIDENCE / 2)
    if component not in phase.path:
        return UNSEEN_TICKS * phase.tick_ms / z
    _, low, high = phase.path[component]
    return max((high - low) / 2 / z, phase.tick_ms)


def fitted_line(
    x: NDArray[np.float64], y: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intercept and slope, and the half widths of their 95 % intervals. ``errors``: of each y, as standard
    errors. Raises LinAlgError unless x has two different values."""
    design = np.stack([np.ones_like(x), x], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    line = covariance @ design.T @ (y / errors)
    free = len(x) - 2
    birge = float(np.sum((y / errors - design @ line) ** 2)) / free if free else 0.0
    half = normal_quantile(0.5 + CONFIDENCE / 2) * np.sqrt(np.diag(covariance) * max(birge, 1.0))
    return line, half
