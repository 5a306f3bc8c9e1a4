"""Which programs of a device trace are prefills, which are decode steps, and what the decode steps take."""

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.device import DeviceTime
from scoreprof_nb.device.intervals import Intervals
from scoreprof_nb.device.trace import TraceTables
from scoreprof_nb.engines.sglang_jax_analysis import MODEL_PROGRAM

PREFILL, DECODE = "prefill", "decode"
_SELDOM, _MOSTLY = 0.1, 0.5


def model_steps(trace: TraceTables, time: DeviceTime) -> dict[str, str]:
    """prefill or decode, by the name of a program that runs the model; empty where it cannot be told.

    By the programs' inputs: a decode has fewer than a prefill, and where all have equally many, they are
    prefills, because no request is scored without one. A program that comes from JAX's compile cache is in
    the trace without its inputs. Then by the order in each request, if there was one in flight: a decode is
    seldom the first run of the model and mostly the last.
    """
    runs = _model_runs(trace)
    run = set(runs["program"])
    compiled = trace.programs[trace.programs["program"].str.contains(MODEL_PROGRAM)]
    if run and run <= set(compiled["program"]):
        fewest, most = compiled["inputs"].min(), compiled["inputs"].max()
        return {
            str(name): DECODE if inputs == fewest < most else PREFILL
            for name, inputs in zip(compiled["program"], compiled["inputs"], strict=True)
        }
    return _steps_by_order(runs, time) if time.in_turn else {}


def _model_runs(trace: TraceTables) -> pd.DataFrame:
    """The executions of the model, on one chip: all run the same programs."""
    executions = trace.events[trace.events["kind"] == "program"]
    runs = executions[executions["program"].str.contains(MODEL_PROGRAM)]
    first: pd.DataFrame = runs[runs["chip"] == runs["chip"].min()]
    return first


def _steps_by_order(runs: pd.DataFrame, time: DeviceTime) -> dict[str, str]:
    window = np.searchsorted(time.windows["start_ns"], runs["start_ns"], side="right") - 1
    inside = (window >= 0) & (runs["start_ns"] < time.windows["end_ns"].to_numpy()[np.maximum(window, 0)])
    placed = runs[inside].assign(window=window[inside])
    position = placed.groupby("window").cumcount()
    size = placed.groupby("window")["window"].transform("size")
    several = placed[size > 1].assign(first=position == 0, last=position == size - 1)
    steps = {}
    for name, of_program in several.groupby("program"):
        first, last = float(of_program["first"].mean()), float(of_program["last"].mean())
        if first <= _SELDOM and last >= _MOSTLY:
            steps[str(name)] = DECODE
        elif last <= _SELDOM or first >= _MOSTLY:
            steps[str(name)] = PREFILL
    return steps if set(steps) == set(runs["program"]) else {}


def decode_ms(trace: TraceTables, time: DeviceTime, steps: dict[str, str]) -> float | None:
    """Device time of the decode steps, ms per request, which a score request does not need.

    A step is the decode program and what runs after it, such as the sampler, until the next prefill; a mean
    over the chips. None if the trace does not tell (``steps`` is empty).
    """
    if not steps:
        return None
    executions = trace.events[trace.events["kind"] == "program"]
    step = executions["program"].map(steps).groupby(executions["chip"]).ffill()
    decoding = executions[step == DECODE]
    parts = (Intervals.union(part["start_ns"], part["end_ns"]) for _, part in decoding.groupby("chip"))
    chips, requests = executions["chip"].nunique(), len(time.windows)
    return sum((part & time.in_flight).total_ns for part in parts) / 1e6 / chips / requests
