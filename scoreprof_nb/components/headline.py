"""The groups of the report's first table: components by what an engineer would change.

They follow the catalog's groups, except that ``jax`` is told apart into launching, compiling and the device.
Each group belongs to a class: the host's work, compiling, the device, the load
generator, or waiting.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from scoreprof_nb.components.catalog import CLIENT
from scoreprof_nb.components.component import WAITING_GROUP, Component

Kind = Literal["host", "compile", "device", "client", "waiting"]


@dataclass(frozen=True)
class HeadlineGroup:
    """``name``: as in the table; ``kind``: its class; ``meaning``: one sentence for the glossary."""

    name: str
    kind: Kind
    meaning: str


_GROUPS = (
    HeadlineGroup("HTTP", "host", "reading and checking the request, the event loop, writing the response"),
    HeadlineGroup("tokenizer", "host", "turning the texts into token ids"),
    HeadlineGroup(
        "IPC and wake-ups", "host", "messages between processes, sockets, the kernel waking threads"
    ),
    HeadlineGroup("scheduler", "host", "admitting requests, forming batches, preparing arrays, results"),
    HeadlineGroup(
        "decode step", "host", "a step that a score request does not need; host and device together"
    ),
    HeadlineGroup("JAX dispatch", "host", "Python and JAX work to launch computations and copy arrays"),
    HeadlineGroup("compile", "compile", "tracing, lowering and compiling new shapes"),
    HeadlineGroup("device", "device", "waiting for the device to finish computing"),
    HeadlineGroup("post-processing", "host", "log-probabilities of the labels, and the softmax over them"),
    HeadlineGroup("detokenizer", "host", "turning token ids back into text"),
    HeadlineGroup("other", "host", "logging, garbage collection, housekeeping, unclassified stacks"),
    HeadlineGroup("waiting", "waiting", "threads that wait or poll; no part of the request path"),
    HeadlineGroup("client", "client", "the load generator's own CPU time, not the server's"),
)
GROUPS = MappingProxyType({group.name: group for group in _GROUPS})
_OF_COMPONENT = MappingProxyType(
    {
        "decode_step": "decode step",
        "trace_compile": "compile",
        "device_wait": "device",
        CLIENT: "client",
    }
)
_OF_CATALOG_GROUP = MappingProxyType(
    {
        "http": "HTTP",
        "tokenizer": "tokenizer",
        "ipc": "IPC and wake-ups",
        "scheduler": "scheduler",
        "jax": "JAX dispatch",
        "post-processing": "post-processing",
        "detokenizer": "detokenizer",
        WAITING_GROUP: "waiting",
    }
)


def headline_group(component: Component) -> HeadlineGroup:
    """The group of a component; ``other`` for those of the catalog's ``other``."""
    name = _OF_COMPONENT.get(component.name) or _OF_CATALOG_GROUP.get(component.group, "other")
    return GROUPS[name]
