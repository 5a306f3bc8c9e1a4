"""The warm-up: what is measured afterwards meets no compile, also when its requests are split."""

import json
from contextlib import contextmanager

import pytest

from scoreprof_nb.capture.load import LoadGenerator
from scoreprof_nb.capture.warmup import PhaseWarmup, split_sizes
from scoreprof_nb.capture.workload import Workloads
from scoreprof_nb.parameters.profile import Parameters
from tests.support.standin import scores_for, standin

LABELS = (1, 2)


class WrittenLog:
    """The server's log, as far as a warm-up reads it."""

    def __init__(self, lines):
        self._lines = lines

    def lines(self, start=0):
        return self._lines[start:]

    @property
    def written(self):
        return len(self._lines)


class CompilingServer:
    """A server whose log tells of batches, and which compiles each new shape of them.

    ``shape``: the shape of a batch by its number of sequences.
    """

    def __init__(self, shape, tells=True):
        self.lines = []
        self.log = WrittenLog(self.lines)
        self.sizes = []
        self.compiled = set()
        self._shape = shape
        self._tells = tells

    def answer(self, handler, body):
        size = len(body["items"])
        self.sizes.append(size)
        if self._tells:
            self.lines.append(f"Prefill batch. #new-seq: {size}, #new-token: {size}")
            if self._shape(size) not in self.compiled:
                self.lines.append("Prefill batch. #bid: 1, #cache_miss: 1")
        self.compiled.add(self._shape(size))
        handler.reply_json(scores_for(body))

    def check_alive(self):
        pass

    @contextmanager
    def serving(self):
        with standin(self.answer) as server:
            self.url = server.url
            yield


def warm_up(server, phase="large", **parameters):
    """The record of a whole warm-up."""
    parameters = Parameters(**parameters)
    workload = Workloads(parameters, LABELS, {}).of(phase)
    with server.serving():
        warming = PhaseWarmup(server, workload, parameters, lambda text: None)
        warming.compile_batch_sizes()
        with LoadGenerator(server.url, workload, 1, 5.0) as load:
            return warming.until_warm(load)


def test_every_batch_that_a_split_can_make_is_compiled_before_the_phase():
    """Broken: a phase of 32 items is ruled by the compiles of batches of 3 and 29."""
    server = CompilingServer(shape=lambda size: size)
    warmup = warm_up(server)
    assert server.compiled == set(range(1, 33))
    assert (warmup.warm, warmup.compiles) == (True, 32)
    assert warmup.requests >= 32


def test_server_that_pads_is_not_asked_for_every_size():
    """Broken: time is spent on warming up sizes that the server pads to a few shapes anyway."""
    server = CompilingServer(shape=lambda size: size > 4)
    warmup = warm_up(server)
    assert server.compiled == {False, True}
    assert len(set(server.sizes)) < 12
    assert warmup.warm


def test_sizes_that_were_met_before_are_not_sent_again():
    """Broken: ``mixed`` repeats the warm-up of the phases before it."""
    server = CompilingServer(shape=lambda size: size)
    warm_up(server, "large")
    server.sizes.clear()
    warmup = warm_up(server, "mixed")
    assert set(server.sizes) <= {1, 4, 32}
    assert warmup.compiles == 0


def test_batches_of_one_item_need_one_size():
    """Broken: single-item phases warm up sizes that cannot occur."""
    server = CompilingServer(shape=lambda size: size)
    warm_up(server, "single")
    assert set(server.sizes) == {1}


def test_users_own_requests_are_shortened_too(tmp_path):
    """Broken: the user's requests are not warmed up in the sizes that splits cause."""
    path = tmp_path / "own.jsonl"
    lines = [{"query": "q", "items": [str(n) for n in range(count)]} for count in (2, 5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    server = CompilingServer(shape=lambda size: size)
    warm_up(server, "file", requests_file=str(path))
    assert server.compiled == {1, 2, 3, 4, 5}


def test_server_whose_log_tells_of_no_batch_gets_no_further_sizes():
    """Broken: sizes are sent although the log cannot show whether they help."""
    server = CompilingServer(shape=lambda size: size, tells=False)
    warmup = warm_up(server)
    assert set(server.sizes) == {32}
    assert (warmup.compiles, warmup.warm) == (None, False)


def test_server_without_a_log_gets_the_phases_requests_only():
    """Broken: the warm-up of a server without a log sends sizes whose effect it cannot see."""
    server = CompilingServer(shape=lambda size: size)
    server.log = None
    assert warm_up(server).compiles is None
    assert set(server.sizes) == {32}


def test_time_limit_holds_for_a_server_that_always_compiles():
    """Broken: a server that always compiles never leaves its warm-up."""
    server = CompilingServer(shape=lambda size: object())
    warmup = warm_up(server, warmup_s=1.0)
    assert not warmup.warm
    assert "the limit of 1 s" in warmup.ended
    assert warmup.wall_s < 5.0


# ---- sizes


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 5, 31, 32, 33])
def test_all_sizes_of_small_requests(largest):
    """Broken: a batch size of small requests is not warmed up, and compiles while it is measured."""
    sizes = split_sizes(largest)
    assert sorted(sizes) == list(range(1, largest + 1))
    assert sizes[0] == largest


def test_sizes_of_large_requests_are_bounded():
    """Broken: the warm-up of large requests compiles a thousand shapes, seconds each."""
    sizes = split_sizes(100_000)
    assert len(sizes) == len(set(sizes)) == 64
    assert {1, 2, 65_536, 99_999, 100_000} <= set(sizes)
