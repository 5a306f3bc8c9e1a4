"""What the analysis needs of sglang-jax: its classification rules, its threads and its log lines.

Nothing here starts a server: a run folder can be analysed where sglang-jax is not installed.
"""

import re
from pathlib import Path
from types import MappingProxyType

RULES_FILE = Path(__file__).with_name("sglang_jax.toml")

# The threads that a request passes, as (process role, thread role) of the rules file. Every server has
# the first two. The scheduler waits for its forward thread, which launches the computations; a server
# without overlap scheduling has none.
HTTP = ("http", "main")
SCHEDULER = ("scheduler", "main")
FORWARD = ("scheduler", "forward")
DETOKENIZER = ("detokenizer", "main")

# What the server logs, by kind of event. Group 1 is a count: the sequences in a prefill batch, or the
# programs that were compiled; it may be missing from a decode line. A number of more than nine digits is none
# of the server's: such a line is damaged, and no event.
LOG_EVENTS = MappingProxyType(
    {
        "prefill": re.compile(r"Prefill batch\.? ?.*#new-seq: (\d{1,9})(?!\d)"),
        "decode": re.compile(r"Decode batch(?:.*#cache_miss: (\d{1,9})(?!\d))?"),
        "compile": re.compile(r"#cache_miss: ([1-9]\d{0,8})(?!\d)"),
    }
)
# The server logs every n-th decode step, and each one that compiled (``process_batch_result_decode`` in
# its scheduler_output_processor_mixin.py); it logs n when it starts.
DECODE_LOG_INTERVAL = re.compile(r"\bdecode_log_interval=([1-9]\d{0,8})(?!\d)")

# In the path of each file of the server's own package.
SERVER_PACKAGE = "/sgl_jax/"
# The outermost functions, which hold everything and explain nothing.
ENTRY_FUNCTIONS = frozenset(
    {"main", "launch", "launch_server", "run_scheduler_process", "run_detokenizer_process", "Server.run"}
)

# What a prefill batch computes and what it takes from the prefix cache: groups 1 and 2, in tokens.
PREFILL_TOKENS = re.compile(r"Prefill batch\.? ?.*#new-token: (\d{1,9}), #cached-token: (\d{1,9})(?!\d)")
DTYPE_FLAG = "--dtype"  # of the server: the number format that the model is computed in

# The compiled function that runs the model, in a device trace. A decode step is a program of its own: it
# lacks the inputs that describe what a prefill extends.
MODEL_PROGRAM = re.compile(r"run_model")
# In the line of a prefill batch: the sequences that are left in the scheduler's queue.
QUEUED_SEQUENCES = re.compile(r"#queue-req: (\d{1,9})(?!\d)")
