"""A verdict on each component of the request path, relative to the mean latency."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scoreprof_nb.analysis.statistics import CONFIDENCE
from scoreprof_nb.comparison.attribution import CHANGE_COLUMNS
from scoreprof_nb.comparison.claims import (
    IMPROVEMENT,
    INCONCLUSIVE,
    NOT_KNOWN,
    REGRESSION,
    SUGGESTIVE,
    Moments,
    judge,
)
from scoreprof_nb.parameters.compare import FEWEST_PAIRS

COMPONENT_MARGIN = 0.01  # of control's mean latency: a smaller change of a component is not meaningful
COMPONENT_COLUMNS = (*CHANGE_COLUMNS, "margin_ms", "verdict")


def component_verdicts(changes: pd.DataFrame, pairs: int, level: float) -> pd.DataFrame:
    """The change of each component with its verdict, relative to control's mean latency: COMPONENT_COLUMNS.

    ``changes``: columns CHANGE_COLUMNS; ``p`` becomes that of the verdict. The components of all phases are
    one family of claims. A verdict needs FEWEST_PAIRS pairs with a request path.
    """
    whole_ms = changes.groupby("phase")["control_ms"].transform("sum").to_numpy(dtype=np.float64)
    margin_ms = np.where(changes["pairs"] > 0, COMPONENT_MARGIN * whole_ms, math.nan)
    table = changes.assign(p=math.nan, margin_ms=margin_ms, verdict=NOT_KNOWN)
    judged = (changes["pairs"] >= FEWEST_PAIRS).to_numpy()
    if judged.any():
        rows = changes[judged]
        freedom = rows["pairs"].to_numpy(dtype=np.float64) - 1
        half = (rows["high"] - rows["low"]).to_numpy(dtype=np.float64) / 2
        error = half / stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
        means = Moments(rows["change_ms"].to_numpy(dtype=np.float64), error, freedom)
        result = judge(means, (-margin_ms[judged], margin_ms[judged]), level)
        table.loc[judged, "verdict"] = result.verdict
        table.loc[judged, "p"] = result.p
    elif pairs == 1:
        table["verdict"] = [_suggested(row) for row in table.to_dict("records")]
    return table[list(COMPONENT_COLUMNS)]


def _suggested(row: Mapping[Any, Any]) -> str:
    """The verdict on a component with one run per side: suggestive at most."""
    low, high, margin = row["low"], row["high"], row["margin_ms"]
    if not (math.isfinite(low) and math.isfinite(margin)):
        return NOT_KNOWN
    if low > margin:
        return SUGGESTIVE + REGRESSION
    return SUGGESTIVE + IMPROVEMENT if high < -margin else INCONCLUSIVE
