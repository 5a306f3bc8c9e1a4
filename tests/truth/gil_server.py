"""A server whose threads keep each other from running, in known ways.

    python gil_server.py PORT

The number of items of a request selects what happens in the scheduler's process:

- 1: its main thread (``output``) and its forward thread (``dispatch``) compute in Python: one GIL for both.
- 4: both compute in C without the GIL.
- 32: the main thread computes alone, on a core that it shares with another busy process.

Each needs CPU_MS of CPU time. After each request each thread prints what it measured of itself:
``truth CASE THREAD WALL_MS ON_CPU_MS RUNNABLE_MS``.
"""

import hashlib
import json
import multiprocessing
import os
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CPU_MS = 40.0
GIL, NATIVE, PINNED = 1, 4, 32
BUFFER = bytes(200_000)


def in_python():
    end = time.thread_time() + CPU_MS / 1e3
    while time.thread_time() < end:
        pass


def in_c():
    end = time.thread_time() + CPU_MS / 1e3
    while time.thread_time() < end:
        hashlib.sha256(BUFFER)


def compute(case):
    in_c() if case == NATIVE else in_python()


def waited_for_core_ms():
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e6


def measured(case, thread):
    before = time.perf_counter(), time.thread_time(), waited_for_core_ms()
    compute(case)
    wall_ms, on_cpu_ms = (time.perf_counter() - before[0]) * 1e3, (time.thread_time() - before[1]) * 1e3
    line = f"truth {case} {thread} {wall_ms} {on_cpu_ms} {waited_for_core_ms() - before[2]}\n"
    os.write(sys.stdout.fileno(), line.encode())  # at once: the lines of two threads must not mix


# ---- the scheduler process and its forward thread


def run_model_wrapper(case):
    measured(case, "forward")


def forward_thread_func(work, done):
    while True:
        run_model_wrapper(work.get())
        done.put(None)


def recv_requests(source):
    return os.read(source, 1)


def resolve_last_batch_result(done):
    done.get()


def process_batch_result_prefill(case):
    measured(case, "main")


def event_loop_overlap(source, sink, work, done, competes):
    every_core = os.sched_getaffinity(0)
    while message := recv_requests(source):
        case = message[0]
        if case == PINNED:
            os.sched_setaffinity(0, {min(every_core)})  # of this thread only
            competes.value = True
            process_batch_result_prefill(case)
            competes.value = False
            os.sched_setaffinity(0, every_core)
        else:
            work.put(case)
            process_batch_result_prefill(case)
            resolve_last_batch_result(done)
        os.write(sink, b"x")


def run_scheduler_process(source, sink, competes):
    work, done = queue.Queue(), queue.Queue()
    threading.Thread(target=forward_thread_func, args=(work, done), daemon=True).start()
    event_loop_overlap(source, sink, work, done, competes)


def compete(competes):
    """Keep a core busy while ``competes``."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    while True:
        while competes.value:
            pass
        time.sleep(0.001)


# ---- the HTTP process


def launch_server(port):
    to_scheduler, to_http = os.pipe(), os.pipe()
    # fork: the pipes are inherited; there is no thread yet.
    context = multiprocessing.get_context("fork")
    competes = context.RawValue("b", False)
    context.Process(target=compete, args=(competes,), daemon=True).start()
    context.Process(
        target=run_scheduler_process, args=(to_scheduler[0], to_http[1], competes), daemon=True
    ).start()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write per answer

        def answer(self, content):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.answer(b"ok")

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            os.write(to_scheduler[1], bytes([len(body["items"])]))
            os.read(to_http[0], 1)
            scores = [[0.5] * len(body["label_token_ids"]) for _ in body["items"]]
            self.answer(json.dumps({"scores": scores}).encode())

        def log_message(self, *arguments):
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    launch_server(int(sys.argv[1]))
