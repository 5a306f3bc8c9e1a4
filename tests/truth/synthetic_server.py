"""A server with known costs: its processes and threads spin and sleep for fixed times per request.

    python synthetic_server.py PORT

Its functions have the names that the kit's rules map to components, and its processes and threads wait
for each other like those of sglang-jax. STAGES lists how long each works per request, in order. It
implements just enough of the Score API for the kit's load generator.
"""

import json
import multiprocessing
import os
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

# Milliseconds of each component per request, in the order in which they happen.
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


def spin(component):
    end = time.perf_counter() + STAGES[component] / 1000
    while time.perf_counter() < end:
        pass


# ---- the scheduler process and its forward thread


def prepare_for_extend():
    spin("batch")


def get_model_worker_batch():
    spin("host_prep")


def run_model_wrapper():
    spin("dispatch")


def block_until_ready():
    time.sleep(STAGES["device_wait"] / 1000)


def forward_thread_func_(work, done):
    while True:
        work.get()
        run_model_wrapper()
        block_until_ready()
        done.put(None)


def forward_thread_func(work, done):
    forward_thread_func_(work, done)


def recv_requests(source):
    return os.read(source, 1)


def resolve_last_batch_result(done):
    done.get()


def process_batch_result_prefill(sink):
    spin("output")
    os.write(sink, b"x")


def event_loop_overlap(source, sink, work, done):
    while recv_requests(source):
        prepare_for_extend()
        get_model_worker_batch()
        work.put(None)
        resolve_last_batch_result(done)
        process_batch_result_prefill(sink)


def run_scheduler_process(source, sink):
    work, done = queue.Queue(), queue.Queue()
    threading.Thread(target=forward_thread_func, args=(work, done), daemon=True).start()
    event_loop_overlap(source, sink, work, done)


# ---- the detokenizer process


def recv_pyobj(source):
    return os.read(source, 1)


def batch_decode():
    spin("detokenize")


def run_detokenizer_process(source, sink):
    while recv_pyobj(source):
        batch_decode()
        os.write(sink, b"x")


# ---- the HTTP process


def _tokenize_one_request():
    spin("tokenize")


def _wait_one_response(source):
    os.read(source, 1)


def serialize_response(body):
    spin("response")
    scores = [[0.5] * len(body["label_token_ids"]) for _ in body["items"]]
    return json.dumps({"scores": scores}).encode()


def v1_score_request(body, sink, source):
    _tokenize_one_request()
    os.write(sink, b"x")
    _wait_one_response(source)
    return serialize_response(body)


def launch_server(port):
    to_scheduler, to_detokenizer, to_http = os.pipe(), os.pipe(), os.pipe()
    # fork: the pipes are inherited; there is no thread yet.
    context = multiprocessing.get_context("fork")
    for target, source, sink in (
        (run_scheduler_process, to_scheduler, to_detokenizer),
        (run_detokenizer_process, to_detokenizer, to_http),
    ):
        context.Process(target=target, args=(source[0], sink[1]), daemon=True).start()

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
            self.answer(v1_score_request(body, to_scheduler[1], to_http[0]))

        def log_message(self, *arguments):
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    launch_server(int(sys.argv[1]))
