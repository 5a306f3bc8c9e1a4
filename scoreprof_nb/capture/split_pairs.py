"""Pairs whose runs would be on two hosts, such as after a preemption: they are captured again, as a whole.

A run of control on one host and its partner on another would differ by their hosts too, and a comparison in
which one side met a host of its own is refused.
"""

import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.progress import LogProgress
from scoreprof_nb.run_folder.sync import manifest_in

type Copies = Sequence[RunFolder]  # of one run: here, and in the results folder if there is one


def forget_if_split(pair: int, runs: Sequence[Copies], here: str | None, log_progress: LogProgress) -> None:
    """Remove the runs of a pair that is not complete and was begun on another host than ``here``.

    ``runs``: the folders of its two runs. Does nothing if no host is known. Raises OSError when a folder
    cannot be read or written just now.
    """
    hosts = {host for folder in chain(*runs) if (host := _host_of(folder.path)) is not None}
    if here is None or hosts <= {here} or all(_is_complete(copies) for copies in runs):
        return
    elsewhere = ", ".join(sorted(hosts - {here}))
    log_progress(f"pair {pair} was begun on {elsewhere}: both of its runs are captured here, on {here}")
    for folder in chain(*runs):
        folder.manifest_path.unlink(missing_ok=True)  # without it, what is left is no run
        shutil.rmtree(folder.path, ignore_errors=True)


def host_of(provenance: Mapping[str, Any]) -> str | None:
    """The host of a run by its provenance; of a Pod, whose host name is its own, the node."""
    host = provenance.get("node") or provenance.get("host")
    return None if host is None else str(host)


def _host_of(path: Path) -> str | None:
    return host_of(RunFolder(path).read_provenance())


def _is_complete(copies: Copies) -> bool:
    manifests = [manifest_in(folder.path) for folder in copies]
    return any(manifest is not None and manifest.status == "complete" for manifest in manifests)
