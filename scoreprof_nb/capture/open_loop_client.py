"""Sends requests at given times, whether or not earlier ones are answered. A program of its own.

    python open_loop_client.py URL TIMEOUT_S EPOCH_NS < requests > answers

It runs in a process of its own, so that neither the notebook's threads nor the server's answers delay a send.
On stdin, for each request in the order of sending, a line ``number at_ns length`` and then the body;
``at_ns`` counts from the epoch. On stdout, a line ``ready`` when it can send; for each answer in the order of
arrival, a line ``number sent_ns done_ns status length`` and then the content; status 0 and a text without an
answer. After the last answer a line ``end cpu_ns``: the CPU time that all this took.

A thread sleeps until each send, because the timers of an event loop are rounded to a millisecond. EPOCH_NS is
the epoch time of the monotonic clock's zero, so that all processes share one clock. Where it may, the program
runs before all others (real-time scheduling), else at a higher priority: a busy server must not delay the
sends.
"""

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import aiohttp

PRIORITY = -10
SHORTEST_SLEEP_S = 50e-6  # about what a sleep overshoots


class Arrival(NamedTuple):
    """A request and when to send it, in nanoseconds of the epoch."""

    number: int
    at_ns: int
    body: bytes


def read_arrivals(stream: BinaryIO, arrivals: "queue.SimpleQueue[Arrival | None]") -> None:
    """Read ahead, so that a send never waits for the pipe. None marks the end."""
    while line := stream.readline():
        number, at_ns, length = map(int, line.split())
        arrivals.put(Arrival(number, at_ns, stream.read(length)))
    arrivals.put(None)


class Sender:
    """Sends each arrival in a task of its own."""

    def __init__(self, url: str, timeout_s: float, epoch_ns: int, output: BinaryIO) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._epoch_ns = epoch_ns
        self._output = output
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, arrivals: "queue.SimpleQueue[Arrival | None]") -> None:
        """Send until the arrivals end, then wait for the answers."""
        ended = asyncio.Event()
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        headers = {"Content-Type": "application/json"}
        if api_key := os.environ.get("SCOREPROF_CLIENT_API_KEY"):
            headers["Authorization"] = f"Bearer {api_key}"
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=self._timeout, auto_decompress=False
        ) as session:
            arguments = (arrivals, asyncio.get_running_loop(), session, ended)
            threading.Thread(target=self._fire, args=arguments, daemon=True).start()
            await ended.wait()
            await asyncio.gather(*self._tasks)

    def _fire(
        self,
        arrivals: "queue.SimpleQueue[Arrival | None]",
        loop: asyncio.AbstractEventLoop,
        session: aiohttp.ClientSession,
        ended: asyncio.Event,
    ) -> None:
        while (arrival := arrivals.get()) is not None:
            left_s = (arrival.at_ns - self._now_ns()) / 1e9
            if left_s > SHORTEST_SLEEP_S:
                time.sleep(left_s - SHORTEST_SLEEP_S)
            loop.call_soon_threadsafe(self._start, session, arrival)
        loop.call_soon_threadsafe(ended.set)

    def _start(self, session: aiohttp.ClientSession, arrival: Arrival) -> None:
        task = asyncio.ensure_future(self._send(session, arrival))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, session: aiohttp.ClientSession, arrival: Arrival) -> None:
        sent_ns = self._now_ns()
        try:
            async with session.post(self._url, data=arrival.body, allow_redirects=False) as answer:
                content, status = await answer.read(), answer.status
        except TimeoutError:
            content, status = b"timeout no complete answer in time", 0
        except aiohttp.ClientError as error:
            content, status = f"connection {str(error) or repr(error)}".encode(), 0
        header = f"{arrival.number} {sent_ns} {self._now_ns()} {status} {len(content)}\n"
        self._output.write(header.encode() + content)
        self._output.flush()

    def _now_ns(self) -> int:
        return self._epoch_ns + time.perf_counter_ns()


def run_first() -> None:
    """Be run whenever there is something to send. Only root, or a process with CAP_SYS_NICE, may ask for it.

    With two cores and ten busy processes, p99 of the delay was 3 to 4 ms with a higher priority, and 0.4 ms
    with real-time scheduling.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with suppress(OSError):
            os.nice(PRIORITY)


def main(url: str, timeout_s: str, epoch_ns: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a notebook: the parent ends it
    arrivals: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
    threading.Thread(target=read_arrivals, args=(sys.stdin.buffer, arrivals), daemon=True).start()
    run_first()
    output = sys.stdout.buffer
    output.write(b"ready\n")
    output.flush()
    started_ns = time.process_time_ns()  # importing costs more than a few requests do
    asyncio.run(Sender(url, float(timeout_s), int(epoch_ns), output).run(arrivals))
    output.write(f"end {time.process_time_ns() - started_ns}\n".encode())
    output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
