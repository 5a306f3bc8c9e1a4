"""Questions to a run, and to any py-spy recording, in a line or two of a notebook."""

from scoreprof_nb.explore.recording import Recording
from scoreprof_nb.explore.run import Run

__all__ = ["Recording", "Run"]
