"""Signals at random moments of a real run: nothing is lost, nothing is left, and the next start completes it."""

from pathlib import Path

import pytest

from tests.faults.faults import Fault, inject, planned

pytestmark = [pytest.mark.server, pytest.mark.slow]
FAULTS, SEED = 6, 1


@pytest.mark.parametrize("fault", list(planned(FAULTS, SEED)), ids=str)
def test_fault(fault: Fault, tmp_path: Path, server_python: str, may_trace: None) -> None:
    """Broken: a fault loses or changes a finished phase, leaves a process, or hides how the run ended."""
    assert inject(fault, tmp_path).problems == ()
