"""The device's side of one phase, or why it is not known."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from scoreprof_nb.analysis import device_programs, device_steps
from scoreprof_nb.analysis.device import BUSY, IDLE, WAKE_UP, DeviceTime, device_time
from scoreprof_nb.analysis.request_path import RequestPath
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.device.trace import TraceTables, Unreadable, read_traces
from scoreprof_nb.run_folder.store import Phase

NO_TRACE = "no device trace was captured"
DEVICE_WAIT = "device_wait"
READY, OVERLAP = "device_wait after the device", "overlap"
IDLE_COLUMNS = ("component", "mean_ms", "low", "high")


@dataclass(frozen=True)
class DeviceWork:
    """What the device did during the requests of a trace: tables with the columns of device_programs.

    ``decode_ms``: device time of the decode step per request, None if not known; ``idle``: what the host did
    while the device stood idle, IDLE_COLUMNS.
    """

    time: DeviceTime
    operations: pd.DataFrame
    programs: pd.DataFrame
    chips: pd.DataFrame
    decode_ms: float | None
    idle: pd.DataFrame


@dataclass(frozen=True)
class DeviceAnalysis:
    """``trace``: its tables, None if it cannot be read. ``work``: None if not known; ``reason`` says why."""

    trace: TraceTables | None
    work: DeviceWork | None
    reason: str | None


def device_traces(phases: Mapping[str, Phase]) -> dict[str, TraceTables | Unreadable]:
    """The device traces of those phases that have one, by name, on the clock of the run."""
    paths = {name: path for name, phase in phases.items() if (path := phase.device_trace_path())}
    traces = dict(zip(paths, read_traces(list(paths.values())), strict=True))
    return {name: _on_clock_of_run(trace, phases[name]) for name, trace in traces.items()}


def _on_clock_of_run(trace: TraceTables | Unreadable, phase: Phase) -> TraceTables | Unreadable:
    record = phase.record.device_trace
    if isinstance(trace, Unreadable) or record is None or not record.clock_ahead_s:
        return trace
    return trace.earlier_by(record.clock_ahead_s)


def analyse_device(
    phase: Phase,
    trace: TraceTables | Unreadable | None,
    requests: MeasuredRequests,
    path: RequestPath,
) -> DeviceAnalysis:
    """``trace``: the phase's, as it was read; None without a file. ``path``: of the same phase."""
    record = phase.record.device_trace
    if record is None or trace is None:
        failure = record.failure if record is not None else None
        return DeviceAnalysis(None, None, f"{NO_TRACE}: {failure}" if failure else NO_TRACE)
    if isinstance(trace, Unreadable):
        return DeviceAnalysis(None, None, f"the device trace {trace.reason}")
    traced = phase.device_requests()
    time = device_time(trace, traced[traced["error"].isna()], requests.plain())
    if time is None:
        return DeviceAnalysis(trace, None, "no request was answered during the device trace")
    if time.windows[BUSY].sum() == 0:
        return DeviceAnalysis(trace, None, "the device trace shows no work of a device during its requests")
    scope = (trace, time.in_flight, len(time.windows))
    steps = device_steps.model_steps(trace, time)
    work = DeviceWork(
        time=time,
        operations=device_programs.operations(*scope),
        programs=device_programs.programs(*scope, steps),
        chips=device_programs.chips(*scope),
        decode_ms=device_steps.decode_ms(trace, time, steps),
        idle=idle_causes(time, path),
    )
    return DeviceAnalysis(trace, work, None)


def idle_causes(time: DeviceTime, path: RequestPath) -> pd.DataFrame:
    """What the host did while the device stood idle: IDLE_COLUMNS, the largest first, ``overlap`` last.

    The trace and the request path are of different requests, so means are joined. Of the path, every
    component counts but ``device_wait``; of ``device_wait``, what the trace shows as the wake-up after the
    device was done. ``overlap`` is idle minus their sum: negative by what the host did while the device
    worked, and by the difference between the blocks. The rows sum to the idle time exactly. Empty without a
    request path.
    """
    if path.table.empty:
        return pd.DataFrame(columns=list(IDLE_COLUMNS))
    host = path.table[path.table["component"] != DEVICE_WAIT][list(IDLE_COLUMNS)]
    ready = time.times[WAKE_UP]
    woken = pd.DataFrame([(READY, ready.mean, ready.low, ready.high)], columns=list(IDLE_COLUMNS))
    rows = pd.concat([host, woken], ignore_index=True).sort_values("mean_ms", ascending=False)
    overlap = time.times[IDLE].mean - float(rows["mean_ms"].sum())
    rest = pd.DataFrame([(OVERLAP, overlap, float("nan"), float("nan"))], columns=list(IDLE_COLUMNS))
    return pd.concat([rows, rest], ignore_index=True)
