"""The components: what a stack can be doing, what each one means and how it is drawn.

``CATALOG`` holds the built-in components; a user's rules file may add more (``Catalog.extended``).
Besides components, which are what a Python stack does, it holds the rows of results that no stack shows,
such as the CPU time of native threads.

The colours of a group are shades of one colour of the palette of Okabe and Ito, which readers with any
common form of colour blindness can tell apart; compiling and the device have colours of their own. Neighbours
in a bar alternate between light and dark.
"""

from scoreprof_nb.components.component import WAITING_GROUP, Catalog, Component

NATIVE_THREADS = "native_threads"
IPC_AND_WAKEUP = "ipc_and_wakeup"
CLIENT = "client"
BEFORE_BATCH = "before_batch"
UNCLASSIFIED = "unclassified"


CATALOG = Catalog(
    (
        Component("http", "http", "reading the request, routing, the event loop's own work", "#E69F00"),
        Component("validation", "http", "checking the request's JSON against its model", "#B37400"),
        Component("response", "http", "building and writing the response", "#F7C96B"),
        Component(
            "tokenize",
            "tokenizer",
            "turning the texts into token ids",
            "#F0E442",
            advice="tokenizing one item at a time is the usual cause; batch it",
        ),
        Component(
            "ipc",
            "ipc",
            "sending and unpacking messages between the server's processes",
            "#56B4E9",
            advice="one message per item is sent between processes; one per request would do",
        ),
        Component(
            "receive",
            "scheduler",
            "receiving requests: unpacking and admitting them",
            "#5CC3A3",
        ),
        Component(
            "batch",
            "scheduler",
            "choosing and forming the batch, prefix cache, memory allocation",
            "#009E73",
        ),
        Component(
            "host_prep",
            "scheduler",
            "preparing the batch's arrays on the host",
            "#9ADBC6",
            advice="host arrays are rebuilt and copied for each batch",
        ),
        Component(
            "output",
            "scheduler",
            "processing a batch's results and sending them on",
            "#006B4E",
        ),
        Component(
            "decode_step",
            "scheduler",
            "a decode step, which a score request does not need",
            "#003F2E",
            advice="a score request needs no decode step after its prefill",
        ),
        Component(
            "dispatch",
            "jax",
            "Python and JAX work to launch a computation",
            "#0072B2",
            advice="use fewer, larger batches or less Python per step",
        ),
        Component(
            "trace_compile",
            "jax",
            "tracing, lowering and compiling",
            "#7A1F4B",
            advice="shapes that were not compiled before; precompile or pad them",
        ),
        Component("transfer", "jax", "moving arrays between host and device", "#7FA6D9"),
        Component(
            "device_wait",
            "jax",
            "waiting for the device to finish",
            "#3D3D5C",
            advice="the model's computation, or buffers that are dropped while it runs",
            waiting=True,
        ),
        Component(
            "logprobs",
            "post-processing",
            "extracting the labels' log-probabilities from the model's output",
            "#D55E00",
            advice="device-to-host copies and Python loops per item",
        ),
        Component(
            "softmax",
            "post-processing",
            "softmax over the labels, in the HTTP process",
            "#963F00",
            advice="JAX dispatch inside the HTTP event loop; NumPy would do",
        ),
        Component("detokenize", "detokenizer", "turning token ids back into text", "#CC79A7"),
        Component(
            "wait_forward",
            WAITING_GROUP,
            "the scheduler waits for its forward thread",
            "#757575",
            waiting=True,
            work=False,
        ),
        Component(
            "await_request",
            WAITING_GROUP,
            "waiting for a request, or for its result",
            "#9A9A9A",
            waiting=True,
            work=False,
        ),
        Component(
            "idle_poll",
            WAITING_GROUP,
            "polling for new requests: uses CPU, does no work",
            "#BDBDBD",
            work=False,
        ),
        Component(
            "idle_wait",
            WAITING_GROUP,
            "sleeping until there is work",
            "#DEDEDE",
            waiting=True,
            work=False,
        ),
        Component("gc", "other", "garbage collection visible in Python frames", "#8C6239"),
        Component("logging", "other", "writing log lines", "#B8966A"),
        Component("housekeeping", "other", "startup, watchdogs, metrics, progress bars", "#5E3C1A"),
        Component(UNCLASSIFIED, "other", "no rule matched; shown as it is, never guessed", "#FFFFFF"),
        Component(
            NATIVE_THREADS,
            "native threads",
            "",
            "#4B1F78",
            advice="threads without Python: XLA's own, which compute on a CPU, compile and copy",
            of_stacks=False,
        ),
        Component(
            IPC_AND_WAKEUP,
            "ipc",
            "",
            "#AEDCF7",
            advice="sockets, wake-ups and the kernel's scheduler; no thread of the server works",
            of_stacks=False,
        ),
        Component(
            BEFORE_BATCH,
            "waiting",
            "",
            "#5A5A5A",
            advice="in a queue before its batch: the log does not say whether behind the HTTP thread",
            of_stacks=False,
        ),
        Component(
            CLIENT,
            "client",
            "",
            "#1A1A1A",
            advice="the load generator's own CPU time, not the server's",
            of_stacks=False,
        ),
    )
)
