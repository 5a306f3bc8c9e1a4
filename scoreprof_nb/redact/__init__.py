"""Secrets are removed from everything that is kept: logs, command lines, recordings, the report."""

from scoreprof_nb.redact.names import MASK
from scoreprof_nb.redact.redactor import Redactor

__all__ = ["MASK", "Redactor"]
