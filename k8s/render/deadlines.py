"""How long a Job may take: derived from its parameters, so that a longer run is not cut off.

A Pod's activeDeadlineSeconds counts from its start on a node, a Job's from the Job's creation
(kubernetes.io/docs/concepts/workloads/controllers/job).
"""

import math
from pathlib import Path

from k8s.render.settings import Refused, Settings
from scoreprof_nb.parameters.compare import CONTROL, CompareParameters
from scoreprof_nb.parameters.load import LADDER
from scoreprof_nb.parameters.profile import Parameters

START_S = 900  # to pull the image, mount the buckets and attach the chips
REPORT_S = 300  # to analyse a run, write its report and copy it
PHASE_S = 60  # of a phase besides warm-up and measurement
TRACE_S = 120  # to start and to write a device trace: the limits of capture/device_trace.py
MEASURED = 2  # a phase may take this many times phase_s
WAIT_S = 86_400  # for capacity
ROUND_S = 600


def run_s(parameters: Parameters) -> float:
    """The longest that one run may take, in seconds: every limit of its parameters used up."""
    trace_s = parameters.device_trace_s + TRACE_S if parameters.device_trace_s else 0
    phase_s = parameters.warmup_s + MEASURED * parameters.phase_s + trace_s + PHASE_S
    of_ladder = len(parameters.ladder_kinds()) * (1 + len(LADDER))  # the capacity, and its rates
    phases = len(parameters.phase_names()) + of_ladder
    return parameters.startup_s + phases * phase_s + parameters.request_s + REPORT_S


def attempt_s(parameters: Parameters | CompareParameters) -> int:
    """The longest that one Pod may take on its node, in seconds."""
    if isinstance(parameters, Parameters):
        runs_s = run_s(parameters)
    else:
        numbers = parameters.pair_numbers(parameters.most_pairs)
        launches = 2 * len(numbers) if parameters.captures else 0
        runs_s = launches * run_s(parameters.of_run(CONTROL, Path("unused"))) + REPORT_S
    return math.ceil((START_S + runs_s + parameters.hold_s) / ROUND_S) * ROUND_S


def wait_s(settings: Settings) -> int:
    """How long a Job may wait for a node. Raises Refused."""
    text = settings["WAIT_S"] or str(WAIT_S)
    if not text.isdecimal() or not 0 < int(text) <= 7 * 86_400:
        raise Refused(f"WAIT_S={text!r} must be from 1 to 604800 seconds")
    return int(text)
