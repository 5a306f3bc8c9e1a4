"""Captures a program of our own instead of the real server."""

import os
import sys
from pathlib import Path

import pytest

from scoreprof_nb.analysis.run_analysis import RunAnalysis, analyse
from scoreprof_nb.capture import session
from scoreprof_nb.capture.attached_server import AttachedServer
from scoreprof_nb.capture.delay_switch import DelaySwitch
from scoreprof_nb.capture.preflight import Plan
from scoreprof_nb.capture.pyspy import PySpy
from scoreprof_nb.capture.server import free_port
from scoreprof_nb.capture.workload import Workloads
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.redact import Redactor
from scoreprof_nb.run_folder.store import load_run

RATE_HZ = 100  # on every machine, so that errors are of the same size


def capture_program(
    program: Path,
    folder: Path,
    attached: AttachedServer | None = None,
    delays: DelaySwitch | None = None,
    **parameters: object,
) -> RunAnalysis:
    """Launch ``program PORT`` with this interpreter, capture phases of it, and analyse them.

    ``attached``: it runs already. ``delays``: of what-if blocks.
    """

    def prepare(parameters: Parameters, phases: tuple[str, ...]) -> Plan:
        port = free_port()
        return Plan(
            command=(sys.executable, str(program), str(port)),
            environment=dict(os.environ),
            port=port,
            attached=attached,
            recorder=PySpy(parameters.py_spy_mode, int(parameters.rate_hz), Redactor()),
            workloads=Workloads(parameters, (1, 2), {}),
            provenance={},
            redact=Redactor(),
            delays=delays,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "prepare", prepare)
        outcome = session.capture(
            Parameters.from_mapping(
                {"run_dir": str(folder), "device_trace_s": 0.0, "rate_hz": RATE_HZ, **parameters}
            ),
            lambda text: None,
        )
    assert outcome.failure is None
    return analyse(load_run(folder), load_rules())
