"""What a stack can be doing: the fixed list of components, and what each one means."""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Component:
    """One component.

    ``waiting``: the thread does not run while it is in this component, so kernel CPU time is never
    spread over it. ``work``: the request makes progress in it (device_wait waits, but for the
    device's work; idle_poll runs, but for nothing).
    """

    name: str
    group: str
    meaning: str
    waiting: bool = False
    work: bool = True


_ALL = (
    Component("http", "http", "reading the request, routing, the event loop's own work"),
    Component("validation", "http", "checking the request's JSON against its model"),
    Component("response", "http", "building and writing the answer"),
    Component("tokenize", "tokenizer", "turning the texts into token ids"),
    Component("ipc", "ipc", "sending and unpacking messages between the server's processes"),
    Component("receive", "scheduler", "taking requests in: unpacking them, admitting them"),
    Component("batch", "scheduler", "choosing and forming the batch, prefix cache, allocation"),
    Component("host_prep", "scheduler", "preparing the batch's arrays on the host"),
    Component("output", "scheduler", "handling the results of a batch, sending them on"),
    Component("decode_step", "scheduler", "the decode step that a score request does not need"),
    Component("dispatch", "jax", "Python and JAX work to launch a computation"),
    Component("trace_compile", "jax", "tracing, lowering and compiling"),
    Component("transfer", "jax", "moving arrays between host and device"),
    Component("device_wait", "jax", "waiting for the device to finish", waiting=True),
    Component("logprobs", "post-processing", "label log-probabilities out of the model's output"),
    Component("softmax", "post-processing", "softmax over the labels, in the HTTP process"),
    Component("detokenize", "detokenizer", "turning token ids back into text"),
    Component("wait_forward", "waiting", "scheduler waits for its forward thread", waiting=True, work=False),
    Component("await_request", "waiting", "waits for a request, or for its answer", waiting=True, work=False),
    Component("idle_poll", "waiting", "spins for new requests: burns CPU, does no work", work=False),
    Component("idle_wait", "waiting", "sleeps until there is work", waiting=True, work=False),
    Component("gc", "other", "garbage collection that Python's frames show"),
    Component("logging", "other", "writing log lines"),
    Component("housekeeping", "other", "start, watchdogs, metrics, progress bars"),
    Component("unclassified", "other", "no rule matched: shown, never guessed"),
)

COMPONENTS = MappingProxyType({component.name: component for component in _ALL})
NAMES: tuple[str, ...] = tuple(COMPONENTS)
INDEX = MappingProxyType({name: index for index, name in enumerate(NAMES)})

# Lines of results that are not what a Python stack does.
NATIVE_THREADS = "native_threads"  # CPU time of threads that have no Python stack (XLA's own)
IPC_AND_WAKEUP = "ipc_and_wakeup"  # what is left of a request's wall time: sockets, wake-ups, the kernel
CLIENT = "client"  # the load generator's own CPU time within the request

EXTRA_GROUPS = MappingProxyType({NATIVE_THREADS: "native threads", IPC_AND_WAKEUP: "ipc", CLIENT: "client"})
GROUPS: tuple[str, ...] = (*dict.fromkeys(component.group for component in _ALL), "native threads", "client")


def group_of(name: str) -> str:
    """The headline group of a component or of an extra line; raises KeyError for any other name."""
    return COMPONENTS[name].group if name in COMPONENTS else EXTRA_GROUPS[name]
