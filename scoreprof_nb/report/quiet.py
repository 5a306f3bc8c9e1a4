"""Was the machine quiet while the launches of a comparison ran, and what does it do to the size?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.report.format import NOT_KNOWN, milliseconds, percent, percent_change

_SHOWN = 4  # launches that are named


def quiet_text(comparison: Comparison) -> str:
    """Plain text: whether launches of the same server agree; which do not, and the change without them."""
    texts = [*_loud_texts(comparison.launches.loud), *_level_texts(comparison.launches)]
    noisy = _noisy_texts(comparison)
    if texts or noisy:
        return f"The machine was not quiet: {'; '.join([*texts, *noisy])}."
    noise = comparison.metrics.loc[comparison.metrics["role"] == HEADLINE, "launch_noise"].dropna()
    if noise.empty:
        return "Whether the machine was quiet is not known: a side has too few launches to tell."
    return (
        f"The machine was quiet: launches of the same server differ by {percent(float(noise.max()))} at most "
        "(standard deviation), and none stands out."
    )


def _loud_texts(loud: pd.DataFrame) -> list[str]:
    return [
        _loud_text(str(phase), str(metric), rows.to_dict("records"))
        for (phase, metric), rows in loud.groupby(["phase", "metric"], sort=False)
    ]


def _loud_text(phase: str, metric: str, rows: Sequence[Mapping[Any, Any]]) -> str:
    named = ", ".join(
        f"launch {row['launch']} ({row['side']} of pair {row['pair']}: {milliseconds(row['value'])}, usually "
        f"{milliseconds(row['usual'])})"
        for row in rows[:_SHOWN]
    )
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    without = rows[0]["ratio_without"]
    effect = (
        f"the change is {percent_change(rows[0]['ratio'])} with all pairs and {percent_change(without)} "
        "without theirs"
        if percent_change(without) != NOT_KNOWN
        else "no pair is without one"
    )
    return f"in {metric} of {phase}, {named}{more} stand{'s' if len(rows) == 1 else ''} out; {effect}"


def _level_texts(launches: Any) -> list[str]:
    """Two levels of launches: the sizes that the pairs show one by one."""
    texts = []
    for row in launches.stability.to_dict("records"):
        for side in row["two_levels"]:
            values = launches.values
            of = values[(values["phase"] == row["phase"]) & (values["metric"] == row["metric"])]
            pairs = of.pivot_table(index="pair", columns="side", values="value")
            ratios = pairs["test"] / pairs["control"]
            own = of.loc[of["side"] == side, "value"]
            texts.append(
                f"the launches of {side} have two levels in {row['metric']} of {row['phase']} "
                f"({milliseconds(own.min())} to {milliseconds(own.max())}); pair by pair "
                f"the change is {percent_change(ratios.min())} to {percent_change(ratios.max())}"
            )
    return texts


def _noisy_texts(comparison: Comparison) -> list[str]:
    rows = comparison.metrics[comparison.metrics["role"] == HEADLINE].to_dict("records")
    return [
        f"{row['metric']} of {row['phase']} differs by {percent(row['launch_noise'])} between launches of "
        f"the same server (standard deviation), so that "
        f"a change of {percent(row['delta'], 0)} needs many pairs"
        for row in rows
        if row["launch_noise"] > row["delta"]
    ]
