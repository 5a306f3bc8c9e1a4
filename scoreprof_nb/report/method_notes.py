"""How each section's numbers are made, for the fold-out under the section. Markdown."""


def note(text: str) -> str:
    """A method as folded Markdown. ``text`` is trusted."""
    summary = "How these numbers are made"
    return f'<details class="sp-note"><summary>{summary}</summary>\n\n{text.strip()}\n\n</details>'


LATENCY = """
Latency is the time from sending a request to reading its whole answer. Phases such as `small` and
`small@4` are closed loops with 1 and 4 requests in flight: that is a service time, not latency at an
arrival rate. `small@2.5/s` is an open loop at that rate, where latency counts from the planned sending
time. Only blocks without py-spy are used, unless the row says otherwise. `n/a` means too few requests for
that percentile (p50 needs 6, p90 29, p95 59, p99 299). Intervals are 95 % and allow for requests that
resemble their neighbours and for blocks that differ; those of percentiles lie between two order
statistics. `–` means that the interval is not known.
"""

PATH = """
The parts of a bar sum to the mean latency of the requests with py-spy. When several threads work at the
same time, these rules decide which one counts:

1. The HTTP thread's own work always counts: without it there is no answer.
2. While part of the request still has to be prefilled, the scheduler's work counts. While the scheduler
   waits for its forward thread, the forward thread's work counts. A decode step in between counts as
   `decode_step`, host and device together, because the rest of the request waits for it. Work that the
   scheduler prepares while its forward thread runs does not count if the scheduler has to wait for that
   thread anyway.
3. After the last prefill, the detokenizer's work counts. The forward thread continues with its decode step,
   but the answer does not wait for it.
4. A thread that wakes the next one is often descheduled within its last call. While the next thread works,
   those ticks, 20 ms at most, count for the next thread.
5. The rest is `client` (the load generator's own CPU time) and `ipc_and_wakeup` (sockets, wake-ups and the
   kernel: no thread of the server works).

With more than one request in flight a tick belongs to each of them: to some as their own time, to others as
time queued behind it. Own and queued milliseconds sum to the mean latency. `marginal` means that the threads
could not be put on common ticks: their shares were chained, which cannot show what overlaps. The largest
possible speedup is latency / (latency - component); with more in flight, as far as the next bottleneck
allows. Intervals are 95 %, from slices of several latencies and the differences between blocks.
"""

LOAD = """
Intervals of an open loop resample stretches between moments with nothing in flight if there are 30, else
batches of consecutive requests. A step without percentiles says why: the server was overloaded, or the
load generator could not keep its times. The knee is the rate with the largest throughput / latency.
"""

COST_PER_ITEM = """
A line through the own milliseconds of each component over the phases with 1, 4 and 32 items per request
(or what the parameters say), weighted by their intervals, without requests hit by a compile. The line of the
whole request is fitted by itself: the lines of its components need not sum to it. A line is a model: where
the phases do not lie on it, its intervals are widened. Beyond the largest phase it is an extrapolation.
"""

DEVICE = """
After the measured blocks, some more requests are sent while JAX's own trace is on and py-spy is off. The
trace slows them, so they are never part of the latencies; the table shows by how much. The device is busy
while any program or operation runs on it: a union of intervals, never a sum over threads or chips. The
rest of the request is idle, and the host is its cause. A phase is device-bound if the device is busy for
more than 60 % of a request, host-bound below 40 %, with the whole 95 % interval on that side, and mixed
otherwise. Trace and request path are of different requests, so what the host does is joined by means;
`overlap` is what is left, negative where the host works while the device does.
"""

CPU = """
The kernel charges CPU time to each thread; the time while py-spy was on is divided among the components
that the thread was running. Intervals are 95 %, from slices of one second. `native_threads` are threads
without Python, such as XLA's own; py-spy does not sample them, so their interval is not known (–).
`idle_poll` is the scheduler polling an empty socket: it uses CPU and does no work.
"""

THREADS = """
Each thread's ticks are divided among components; the shares of a thread sum to 1. Intervals are 95 %, from
slices of one second. Samples that py-spy could not read completely count as running.
"""

HOT = """
`self`: the function is the innermost frame; `with callees`: it is anywhere in the stack. Both are wall time
of the thread per request while the thread works. Threads work in parallel, and the request path counts only
one of them at a time: so a function can take longer here than its component takes on the request path.
"""

BATCHING = """
From the server's log. Each number of sequences in a prefill batch may need its own compile, and the timing
of the scheduler's polling decides how a request's items are split over batches. Both happen by chance, so
affected requests are counted and shown separately, and never dropped. The server logs only some decode
steps, so their number is given as two bounds (with `--decode-log-interval 1` in `server_flags` it logs all
of them). A score request needs none.
"""

QUALITY = """
Each phase runs in blocks with py-spy off or on, in a balanced order, so the run itself measures what py-spy
costs. A block begins and ends with an answer, so no request is cut off. A tick that py-spy could not read
means that the process was running Python at that moment: it is counted as running at its time, and never
dropped. The smallest detectable change of p50 is the smallest change that two runs like this one would show
with 80 % power. It covers the variation within a run only; two launches may differ by more.
"""

MEMORY = """
The memory of each process on the host (RSS) while the blocks were measured. Growth is a slope over their
second half; a process that keeps growing is killed in the end.
"""

VERDICTS = """
A ratio is test / control, the mean over the pairs of launches, with its 95 % interval (Student's, on the
log-ratios). The headline of a phase is the mean of each kind of request, without those that met a compile;
the rest is beside it.

- *regression*, *improvement*: it was shown that the change is larger than the margin (parameter `delta`).
- *no meaningful change*: it was shown that the change is within the margin (two one-sided tests).
- *changed, size uncertain*: there is a change; whether it is larger than the margin is open.
- *inconclusive*: nothing was shown. The smallest change that would show would be called a regression in 80
  % of the cases; `pairs for the margin` would show no meaningful change as often.
- *mixed*: something improved, and something else seems worse.
- *suggestive*: the most that one run per side can show. *insufficient*: fewer than five pairs. *not known*:
  a run lacks the metric. *blocked*: a guard blocks, and nothing is called an improvement.

`p` is the p-value of the verdict, corrected (Holm) over the family: the headlines of all phases, or all other
metrics. Below 0.025 the claim was shown. `Hodges-Lehmann` is a ratio that an odd pair hardly moves.
"""

CORRECTNESS = """
Guards come first, and no correction weakens them. Improvements are blocked if test fails a request and
control none, significantly more (Fisher, 5 %) or more than 1 %; if more of its runs did not finish; if
scores or the order of the items changed, or were not checked; if one side took more prompt tokens from the
prefix cache.

The scores of each payload: the median over the answers of a side, compared across the sides as logits,
since a probability near 0 or 1 moves little. The tolerance is two rounding steps of the model's number
format. Answers further from control's median are counted: a server that is wrong only occasionally still
has the right median.

Counts have the 95 % interval of their share (Wilson) and Fisher's exact test; compiles and prefill batches
the 95 % interval of their change over the pairs (Student's).
"""

CAUSE = """
The request path of both sides, and the change of each component with its 95 % interval, over the pairs that
have a path by the same method on both sides. Paths are of the requests with py-spy, compile hits included,
so their sum differs from the headline, which is without both. The change of a component matters if it is
larger than 1 % of control's mean latency. Functions and stacks are of whole threads while they work:
threads work in parallel, and the request path counts only one of them at a time.
"""

LAUNCHES = """
A launch stands out if the log of its mean is further from the median of its side than 3.5 robust standard
deviations of all launches, and than 10 %. Drift is the change from launch to launch, each side around its own
mean; `second of a pair` is how much slower the second launch of a pair is, whichever side it is. Two levels
are two groups of launches of one side, further apart than each is wide. The odd pair is an outlier by
Grubbs' test.
"""

PLAN = """
The standard deviation between launches of one side with its 95 % interval, and the pairs (minutes) that would
show a change of this size beyond the margin, or no meaningful change, in 80 % of the cases. If the server was
compared with itself, a difference between the sides is a bias.
"""

WHAT_IF = """
One function after another is delayed by a known time while the server runs, in random order, each between two
blocks without a delay. Sensitivity is the change of the mean latency between a delayed block and the two
beside it, per ms really put in (the delays that the server counted / the requests answered meanwhile), from
the rounds without py-spy, which are half. Intervals are Student's over the rounds. The rounds with py-spy
show what the request path and the threads' samples make of the same delay. The samples find less if a rule
takes some of the component's stacks for another's, and more if the delay also makes the rest of the component
longer, such as by a wait for the GIL. `works` is the time that the server's threads spend in the component
per request, whether or not a request waits for it; times the sensitivity it is what the component really
costs, to first order. These costs sum to the latency (twice as slow in everything is twice as long):
what the measured components leave bounds the device, less what no delay could be put into. A difference of
less than 0.1 ms per ms is not called one; the level of 5 % is divided among all functions (Bonferroni).
"""
