"""The program of the stored captures: two processes whose threads each do one known thing.

The command line of the spawned child contains ``;``, as that of every multiprocessing child does.
``make_captures.py`` passes this program an argument with quotes and a newline. It runs until interrupted.
"""

import multiprocessing
import queue
import threading
import time


def add(numbers: range) -> int:
    total = 0
    for number in numbers:
        total += number
    return total


def spin() -> None:
    """Busy: runs Python at every tick."""
    while True:
        add(range(1000))


def rest() -> None:
    while True:
        time.sleep(0.05)


def take(source: "queue.Queue[int]") -> None:
    while True:
        source.get()


def child() -> None:
    threading.Thread(target=rest, name="child; resting", daemon=True).start()
    spin()


def main() -> None:
    never_filled: queue.Queue[int] = queue.Queue()
    threading.Thread(target=take, args=(never_filled,), name="taker", daemon=True).start()
    threading.Thread(target=rest, daemon=True).start()  # named by Python: Thread-1 (rest)
    process = multiprocessing.get_context("spawn").Process(target=child, daemon=True)
    process.start()
    print("ready", flush=True)
    process.join()


if __name__ == "__main__":
    main()
