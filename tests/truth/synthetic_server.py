"""A server with known costs: its processes and threads spin and sleep for fixed times per request.

    python synthetic_server.py PORT

Its functions have the names that the kit's rules map to components, and its processes and threads wait
for each other like those of sglang-jax. STAGES lists how long each works, in order: for one request, or for
a batch of at most MOST_IN_BATCH. It implements just enough of the Score API for the kit's load generator,
and logs its batches like sglang-jax. The file SCOREPROF_BOOKS, if that is set, gets a line per stage that
was worked at: component, start and end (epoch, ns), number of requests.
"""

import asyncio
import json
import multiprocessing
import os
import queue
import select
import sys
import threading
import time
from collections import deque

# Milliseconds of each component, in the order in which they happen.
STAGES = {
    "tokenize": 12.0,
    "batch": 6.0,
    "host_prep": 9.0,
    "dispatch": 5.0,
    "device_wait": 30.0,
    "output": 4.0,
    "detokenize": 8.0,
    "response": 6.0,
}
MOST_IN_BATCH = 2
BOOKS = os.environ.get("SCOREPROF_BOOKS", "")


def enter(component, start_ns, requests):
    if BOOKS:
        line = f"{component} {start_ns} {time.time_ns()} {requests}\n"
        file = os.open(BOOKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)


def spin(component, requests=1):
    start_ns, end = time.time_ns(), time.perf_counter() + STAGES[component] / 1000
    while time.perf_counter() < end:
        pass
    enter(component, start_ns, requests)


# ---- the scheduler process and its forward thread


def prepare_for_extend(requests):
    spin("batch", requests)


def get_model_worker_batch(requests):
    spin("host_prep", requests)


def run_model_wrapper(requests):
    spin("dispatch", requests)


def block_until_ready(requests):
    start_ns = time.time_ns()
    time.sleep(STAGES["device_wait"] / 1000)
    enter("device_wait", start_ns, requests)


def forward_thread_func_(work, done):
    while True:
        requests = work.get()
        run_model_wrapper(requests)
        block_until_ready(requests)
        done.put(None)


def forward_thread_func(work, done):
    forward_thread_func_(work, done)


def recv_requests(source, waiting):
    """The number of requests that wait, at least one."""
    if select.select([source], [], [], 0 if waiting else None)[0]:
        waiting += len(os.read(source, 1000))
    return waiting


def resolve_last_batch_result(done):
    done.get()


def process_batch_result_prefill(sink, requests):
    spin("output", requests)
    os.write(sink, b"x" * requests)


def event_loop_overlap(source, sink, work, done):
    waiting = 0
    while True:
        waiting = recv_requests(source, waiting)
        requests = min(waiting, MOST_IN_BATCH)
        waiting -= requests
        print(f"Prefill batch. #new-seq: {requests}, #queue-req: {waiting}, ", flush=True)
        prepare_for_extend(requests)
        get_model_worker_batch(requests)
        work.put(requests)
        resolve_last_batch_result(done)
        process_batch_result_prefill(sink, requests)


def run_scheduler_process(source, sink):
    work, done = queue.Queue(), queue.Queue()
    threading.Thread(target=forward_thread_func, args=(work, done), daemon=True).start()
    event_loop_overlap(source, sink, work, done)


# ---- the detokenizer process


def recv_pyobj(source):
    return len(os.read(source, MOST_IN_BATCH))


def batch_decode(requests):
    spin("detokenize", requests)


def run_detokenizer_process(source, sink):
    while requests := recv_pyobj(source):
        batch_decode(requests)
        os.write(sink, b"x" * requests)


# ---- the HTTP process


def _tokenize_one_request():
    spin("tokenize")


def serialize_response(body):
    spin("response")
    scores = [[0.5] * len(body["label_token_ids"]) for _ in body["items"]]
    return json.dumps({"scores": scores}).encode()


class Results:
    """Futures of the requests that wait for a result, in order."""

    def __init__(self, source):
        self.source = source
        self.futures = deque()

    def arrive(self):
        for _ in os.read(self.source, 1000):
            self.futures.popleft().set_result(None)

    async def wait(self):
        self.futures.append(asyncio.get_running_loop().create_future())
        await self.futures[-1]


async def v1_score_request(body, sink, results):
    _tokenize_one_request()
    os.write(sink, b"x")
    await results.wait()
    return serialize_response(body)


async def connection(reader, writer, sink, results):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            content = b"ok"
            if head.startswith("post"):
                length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                content = await v1_score_request(body, sink, results)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port, sink, source):
    results = Results(source)
    asyncio.get_running_loop().add_reader(source, results.arrive)
    server = await asyncio.start_server(
        lambda reader, writer: connection(reader, writer, sink, results), "127.0.0.1", port
    )
    await server.serve_forever()


def launch_server(port):
    to_scheduler, to_detokenizer, to_http = os.pipe(), os.pipe(), os.pipe()
    # fork: the pipes are inherited; there is no thread yet.
    context = multiprocessing.get_context("fork")
    for target, source, sink in (
        (run_scheduler_process, to_scheduler, to_detokenizer),
        (run_detokenizer_process, to_detokenizer, to_http),
    ):
        context.Process(target=target, args=(source[0], sink[1]), daemon=True).start()
    asyncio.run(serve(port, to_scheduler[1], to_http[0]))


if __name__ == "__main__":
    launch_server(int(sys.argv[1]))
