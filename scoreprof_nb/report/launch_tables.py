"""The tables of a comparison's report about its launches."""

import pandas as pd

from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.report import format
from scoreprof_nb.report.comparison_verdict import pairs_text


def runs_table(comparison: Comparison) -> pd.DataFrame:
    """One row per run and phase, by start time (UTC)."""
    table = comparison.launches.runs.sort_values("started_s", kind="stable")
    return pd.DataFrame(
        {
            "phase": table["phase"],
            "side": table["side"],
            "pair": table["pair"],
            "run": table["run_id"],
            "started": [format.timestamp(at) for at in table["started_s"]],
            "p50 ms": table["p50_ms"],
            "mean ms": table["mean_ms"],
            "requests\nwithout py-spy": table["requests"],
        }
    )


def stability_table(comparison: Comparison) -> pd.DataFrame:
    """A row per headline: drift, effect of the order, two levels, and the odd pair."""
    return pd.DataFrame(
        [
            {
                "phase": row["phase"],
                "metric": row["metric"],
                "drift per launch": format.percent_change(1 + row["drift"]),
                "p (drift)": format.p_value(row["drift_p"]),
                "second of a pair": format.percent_change(1 + row["order_effect"]),
                "p (order)": format.p_value(row["order_p"]),
                "two levels": ", ".join(row["two_levels"]) or "no",
                "odd pair": "none" if pd.isna(row["odd_pair"]) else f"pair {row['odd_pair']:.0f}",
                "change": format.percent_change(row["ratio"]),
                "change without it": format.percent_change(row["ratio_without"]),
            }
            for row in comparison.launches.stability.to_dict("records")
        ]
    )


def plan_table(comparison: Comparison) -> pd.DataFrame:
    """The noise between launches, and the pairs and minutes that a wanted change takes, a column each."""
    rows = []
    for (phase, metric), of in comparison.launches.plan.groupby(["phase", "metric"], sort=False):
        first = of.iloc[0]
        row = {
            "phase": phase,
            "metric": metric,
            "noise between launches": format.share(first["launch_noise"], first["low"], first["high"]),
        }
        for wanted in of.to_dict("records"):
            name = f"{wanted['wanted']:.0%} change" if wanted["wanted"] else "no meaningful change"
            minutes = f" ({format.number(wanted['minutes'], 0)} min)" if wanted["pairs"] > 0 else ""
            row[name] = f"{pairs_text(wanted['pairs'])}{minutes}"
        rows.append(row)
    return pd.DataFrame(rows)
