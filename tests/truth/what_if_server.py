"""The synthetic server with work beside its device, to put delays into.

    python what_if_server.py PORT

When the forward thread is to launch the device's work, the scheduler spins (``stream_output``) and keeps the
GIL that the launch needs, until it is done or SWITCH_MS have passed: Python then makes it give the GIL up.
While the device works, it spins again (``cache_finished_req``: nobody waits for it). All else happens one
after the other, as in ``synthetic_server``. The stages are shorter than there.
"""

import queue
import sys

import synthetic_server as base

DEVICE_MS = 20.0
OUTPUT_MS = 4.0
SWITCH_MS = 6.0  # OUTPUT_MS < SWITCH_MS: without a delay, the scheduler keeps the GIL until it is done
STAGES = {
    "tokenize": 3.0,
    "batch": 2.0,
    "host_prep": 2.0,
    "dispatch": 4.0,
    "device_wait": DEVICE_MS,
    "output": OUTPUT_MS,
    "detokenize": 2.0,
    "response": 2.0,
}
launched = queue.Queue()


def stream_output(requests):
    base.spin("output", requests)


def cache_finished_req(requests):
    base.spin("output", requests)


def run_model_wrapper(requests):
    base.spin("dispatch", requests)
    launched.put(None)


def event_loop_overlap(source, sink, work, done):
    sys.setswitchinterval(SWITCH_MS / 1000)
    waiting = 0
    while True:
        waiting = base.recv_requests(source, waiting)
        requests = min(waiting, base.MOST_IN_BATCH)
        waiting -= requests
        print(f"Prefill batch. #new-seq: {requests}, #queue-req: {waiting}, ", flush=True)
        base.prepare_for_extend(requests)
        base.get_model_worker_batch(requests)
        work.put(requests)
        beside.stream_output(requests)
        base.resolve_last_batch_result(launched)
        beside.cache_finished_req(requests)
        base.resolve_last_batch_result(done)
        base.process_batch_result_prefill(sink, requests)


if __name__ == "__main__":
    import what_if_server as beside  # as a module that is imported, whose functions can be delayed

    base.STAGES.update(STAGES)
    base.event_loop_overlap = event_loop_overlap
    base.run_model_wrapper = run_model_wrapper
    base.launch_server(int(sys.argv[1]))
