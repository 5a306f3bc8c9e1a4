"""The what-if blocks of a phase, on disk: what was delayed, when, and what the server counted meanwhile."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from scoreprof_nb.run_folder import files
from scoreprof_nb.run_folder.folder import parse_record, read_json, write_json
from scoreprof_nb.run_folder.records import Block
from scoreprof_nb.run_folder.store import REQUESTS_SCHEMA, read_table

_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=_CHECKED)
class Delayed:
    """A function that was to be delayed.

    ``left_out``: why it was not, None if it was. ``calls``: its calls per request while nothing was delayed,
    None if it was left out; ``delay_ns``: of each call.
    """

    component: str
    function: str
    left_out: str | None = None
    calls: float | None = None
    delay_ns: Count | None = None


@dataclass(frozen=True, config=_CHECKED)
class WhatIfBlock:
    """One block. ``round``: every function is delayed once in each; ``delayed``: the number of the function,
    None in a block without a delay. ``calls``, ``put_in_ns``: how often that function was delayed in the
    block, and the sum of the delays; ``answered``: the requests that were answered meanwhile, whenever they
    were sent. The blocks of a round share a recording."""

    round: Count
    delayed: Count | None
    block: Block
    calls: Count
    put_in_ns: Count
    answered: Count


@dataclass(frozen=True, config=_CHECKED)
class WhatIf:
    """what-if.json: the experiment of one phase. ``off_ns``: what a wrapper costs per call while no delay is
    on, measured in the server's interpreter."""

    delay_ms: float
    kind: Literal["spin", "sleep"]
    off_ns: float
    functions: tuple[Delayed, ...]
    blocks: tuple[WhatIfBlock, ...]
    notes: tuple[str, ...] = ()

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return len({block.round for block in self.blocks})

    @property
    def recorded_rounds(self) -> int:
        """The number of rounds with py-spy."""
        return len({block.round for block in self.blocks if block.block.recording is not None})


def write_what_if(folder: Path, record: WhatIf, requests: list[dict[str, Any]]) -> None:
    """Write the experiment and its requests (rows of requests.parquet) into a phase's folder."""
    pq.write_table(pa.Table.from_pylist(requests, schema=REQUESTS_SCHEMA), folder / files.WHAT_IF_REQUESTS)
    write_json(folder / files.WHAT_IF, asdict(record))


def read_what_if(folder: Path) -> tuple[WhatIf, pd.DataFrame] | None:
    """The experiment of a phase and its requests; None if there was none.

    Raises RunFolderError naming the file that is damaged.
    """
    path = folder / files.WHAT_IF
    if not path.exists():
        return None
    record = parse_record(WhatIf, read_json(path), path)
    requests = read_table(folder / files.WHAT_IF_REQUESTS, REQUESTS_SCHEMA)
    return record, requests
