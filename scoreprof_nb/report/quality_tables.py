"""The tables about how far a run's numbers can be trusted."""

import pandas as pd

from scoreprof_nb.report import format
from scoreprof_nb.report.format import with_interval
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.table_html import cell_text


def quality_overview(report: Report) -> pd.DataFrame:
    """How good the capture is: a row per measure, a column per phase."""
    table = quality_table(report).set_index("phase").T
    table.index = [str(name).replace("\n", " ") for name in table.index]
    table.columns.name = None
    return table.map(cell_text).rename_axis("measure").reset_index()


def quality_table(report: Report) -> pd.DataFrame:
    """One row per phase: how good the capture is."""
    rows = []
    for phase in report.analysis.phases:
        quality, observer = phase.quality.capture, phase.latency.observer_effect
        rows.append(
            {
                "phase": phase.name,
                "samples/s\nasked for": quality.rate_hz if quality else None,
                "samples/s\nreached": quality.effective_rate_hz if quality else None,
                "ticks (looks\nat all threads)": quality.ticks if quality else 0,
                "ticks lost\nof a process, %": 100 * quality.lost_share if quality else None,
                "py-spy late\nby at most, s": quality.behind_s if quality else None,
                "ticks more than\nanother process": _ticks_and_ms(quality.mismatch, quality.rate_hz)
                if quality
                else None,
                "threads ended within a block": quality.ended if quality else None,
                "unclassified\nof a thread, %": 100 * quality.unclassified_share if quality else None,
                "p50 with / without py-spy": _ratio(observer.p50_ratio, observer.low, observer.high),
                "mean with / without py-spy": _ratio(
                    observer.mean_ratio, observer.mean_low, observer.mean_high
                ),
                "smallest detectable\nchange of p50, %": _percent(phase.latency.minimum_detectable_effect),
                "equal requests\ngot equal scores": phase.quality.scores.consistent,
                "largest score difference": phase.quality.scores.max_difference,
                "warm-up": phase.phase.record.warmup.ended,
            }
        )
    return pd.DataFrame(rows)


def checks_table(report: Report) -> pd.DataFrame:
    """Columns: phase, check, result (passed, FAILED, not run), found."""
    words = {True: "passed", False: "FAILED", None: "not run"}
    return pd.DataFrame(
        [
            {
                "phase": check.phase,
                "check": check.name,
                "result": words[check.passed],
                "found": check.text,
            }
            for phase in report.analysis.phases
            for check in phase.quality.checks
        ]
    )


def observer_table(report: Report) -> pd.DataFrame:
    """Columns: phase, mean_ratio, low, high (NaN where it is not known)."""
    rows = [
        (phase.name, effect.mean_ratio, effect.mean_low, effect.mean_high)
        for phase in report.analysis.phases
        for effect in [phase.latency.observer_effect]
    ]
    return pd.DataFrame(rows, columns=["phase", "mean_ratio", "low", "high"]).astype(
        {"mean_ratio": float, "low": float, "high": float}
    )


def _ratio(value: float | None, low: float | None, high: float | None) -> str | None:
    return None if value is None else with_interval(value, low, high, digits=2)


def _ticks_and_ms(ticks: int, rate_hz: int) -> str:
    return f"{ticks} ({format.number(ticks / rate_hz * 1e3, 0)} ms)"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
