"""The capacity of a server for one kind of request: the rates of ``rates`` auto are shares of it."""

import time

from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.server import Server, ServerFailed
from scoreprof_nb.capture.warmup import PhaseWarmup
from scoreprof_nb.capture.workload import Workload
from scoreprof_nb.parameters.load import numbers_in_flight
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.progress import LogProgress

IN_FLIGHT = 16  # enough to keep every stage of the server busy
ENOUGH = 200  # answers
LEAST_S, SHARE = 3.0, 0.5  # seconds, and share of phase_s
POLL_S = 0.1


def measure_capacity(
    server: Server, workload: Workload, parameters: Parameters, log_progress: LogProgress
) -> float:
    """Answered requests per second in a closed loop with many in flight, without py-spy.

    Raises ServerFailed when nothing is answered.
    """
    in_flight = max(IN_FLIGHT, *numbers_in_flight(parameters.concurrency))
    with LoadGenerator(server.url, workload, in_flight, parameters.request_s, parameters.api_key()) as load:
        PhaseWarmup(server, workload, parameters, log_progress).until_warm(load)
        load.warming = False
        start_s, before = time.monotonic(), len(load.rows)
        limit_s = max(LEAST_S, SHARE * parameters.phase_s)
        while (wall_s := time.monotonic() - start_s) < limit_s and len(load.rows) - before < ENOUGH:
            server.check_alive()
            time.sleep(POLL_S)
        answered = sum(row["error"] is None for row in load.rows[before:])
    if not answered:
        raise ServerFailed(f"no request was answered with {in_flight} in flight: the capacity is not known")
    capacity_per_s = answered / wall_s
    log_progress(f"  capacity: {capacity_per_s:.3g} requests/s with {in_flight} in flight")
    return capacity_per_s
