"""Slices of a measured block: the units of estimates that are not of single requests."""

import numpy as np
from numpy.typing import NDArray

from scoreprof_nb.run_folder.records import Block

SLICE_S = 1.0


def slice_edges(block: Block) -> NDArray[np.float64]:
    """Epoch seconds of the slices' bounds: a block in equal parts of about SLICE_S."""
    return np.linspace(block.start_s, block.stop_s, max(round(block.wall_s / SLICE_S), 1) + 1)
