"""What the delay of each function did, from the blocks with it and the blocks beside them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scoreprof_nb.analysis.dependence import Floats, Units
from scoreprof_nb.analysis.estimate import Estimate
from scoreprof_nb.analysis.intervals import percentile_estimate
from scoreprof_nb.analysis.requests import MeasuredRequests
from scoreprof_nb.analysis.what_if_estimates import UNKNOWN, around, block_means, paired_ratio
from scoreprof_nb.analysis.what_if_stacks import Components, Seen
from scoreprof_nb.run_folder.what_if import Delayed, WhatIfBlock

TOLERANCE = 0.1  # of what was put in: a smaller error is no failure, however certain it is
P99 = 0.99


@dataclass(frozen=True)
class FunctionEffect:
    """What the delay of one function did.

    ``put_in_ms``: per request, in blocks without py-spy; ``change_ms``: of the mean latency by it;
    ``throughput``: relative change per ms; ``p99``: change in ms per ms; both with several in flight only.
    ``moved``: other components of the path that changed, ms per ms put in; ``requests``: in the delayed
    blocks without py-spy; ``no_path``: why ``path`` is not known; ``claims``: the experiment's functions.
    """

    delayed: Delayed
    put_in_ms: float
    change_ms: Estimate
    sensitivity: Estimate
    path: Estimate
    found: Estimate
    moved: tuple[tuple[str, Estimate], ...]
    throughput: Estimate
    p99: Estimate
    requests: int
    no_path: str | None = None
    claims: int = 1

    @property
    def path_is_wrong(self) -> bool:
        """Whether the path and the experiment disagree beyond their intervals."""
        return self.sensitivity.differs_from(self.path, TOLERANCE, self.claims)

    @property
    def calibrated(self) -> bool | None:
        """Whether the samples find what was put in; None if that is not known."""
        if not self.found.known:
            return None
        return not self.found.differs_from(Estimate(1.0, 1.0, 1.0), TOLERANCE, self.claims)


class DelayedBlocks:
    """The blocks of an experiment, by round and place."""

    def __init__(
        self,
        blocks: Sequence[WhatIfBlock],
        requests: MeasuredRequests,
        seen: Mapping[tuple[int, int | None], Seen],
        several: bool,
    ) -> None:
        self._blocks = blocks
        self._requests = requests.succeeded()
        self._seen = seen
        self._several = several
        self._means = block_means(self._requests)
        self._claims = len({block.delayed for block in blocks} - {None})

    def effect(self, number: int, function: Delayed) -> FunctionEffect:
        plain = self._places(number, profiled=False)
        put_in = np.array([_put_in_ms(self._blocks[place]) for place in plain])
        changes = self._changes(plain, self._latency)
        rates = self._changes(plain, self._log_rate) if self._several else np.full(len(plain), math.nan)
        path, found, moved, no_path = self._by_stacks(number, function.component)
        mean_ms = float(put_in.mean()) if len(put_in) else math.nan
        sensitivity = paired_ratio(changes, put_in)
        return FunctionEffect(
            delayed=function,
            put_in_ms=mean_ms,
            change_ms=sensitivity.times(mean_ms) if sensitivity.known else UNKNOWN,
            sensitivity=sensitivity,
            path=path,
            found=found,
            moved=moved,
            throughput=paired_ratio(rates, put_in),
            p99=self._p99(plain, mean_ms) if self._several else UNKNOWN,
            requests=int(self._requests["block"].isin(self._numbers(plain)).sum()),
            no_path=no_path,
            claims=self._claims,
        )

    def _places(self, delayed: int | None, profiled: bool) -> list[int]:
        return [
            place
            for place, one in enumerate(self._blocks)
            if one.delayed == delayed and (one.block.recording is not None) == profiled
        ]

    def _numbers(self, places: Sequence[int]) -> list[int]:
        return [self._blocks[place].block.number for place in places]

    def _latency(self, block: WhatIfBlock) -> float:
        return self._means.get(block.block.number, math.nan)

    def _log_rate(self, block: WhatIfBlock) -> float:
        return math.log(block.answered / block.block.wall_s) if block.answered else math.nan

    def _changes(self, places: Sequence[int], value: Callable[[WhatIfBlock], float]) -> Floats:
        """Of each delayed block, its value less the mean of the two blocks beside it."""
        return np.array(
            [
                value(self._blocks[place])
                - (value(self._blocks[place - 1]) + value(self._blocks[place + 1])) / 2
                for place in places
            ]
        )

    def _p99(self, places: Sequence[int], put_in_ms: float) -> Estimate:
        """The change of p99 per ms put in: of all delayed blocks together, against all beside them."""
        beside = sorted({place + side for place in places for side in (-1, 1)})
        parts = []
        for chosen in (places, beside):
            rows = self._requests[self._requests["block"].isin(self._numbers(chosen))]
            if len(rows) == 0:
                return UNKNOWN
            parts.append(
                Estimate(
                    *percentile_estimate(
                        rows["latency_ms"].to_numpy(dtype=np.float64), P99, Units.of_requests(rows)
                    )
                )
            )
        slow, usual = parts
        if not slow.known or not usual.known or put_in_ms <= 0:
            return UNKNOWN
        half = math.hypot(slow.half_width, usual.half_width)
        return around(slow.value - usual.value, half).times(1 / put_in_ms)

    def _by_stacks(
        self, number: int, component: str
    ) -> tuple[Estimate, Estimate, tuple[tuple[str, Estimate], ...], str | None]:
        """What the path and the samples found per ms put in, the other components that moved, and why there
        is no path."""
        pairs, reasons = [], []
        for place in self._places(number, profiled=True):
            one = self._blocks[place]
            with_delay, without = (self._seen.get((one.round, delayed)) for delayed in (number, None))
            if with_delay is None or without is None:
                continue
            reasons += [side.reason for side in (with_delay, without) if side.reason is not None]
            pairs.append((_put_in_ms(one), with_delay, without))
        if not pairs:
            return UNKNOWN, UNKNOWN, (), "no round was recorded whole"
        put_in = np.array([ms for ms, _, _ in pairs])
        found = paired_ratio(
            np.array([_growth(slow.busy, usual.busy, component) for _, slow, usual in pairs]), put_in
        )
        if reasons:
            return UNKNOWN, found, (), reasons[0]
        names = sorted({name for _, slow, usual in pairs for name in (*slow.path, *usual.path)})
        growth = {
            name: paired_ratio(
                np.array([_growth(slow.path, usual.path, name) for _, slow, usual in pairs]), put_in
            )
            for name in {*names, component}
        }
        path = growth.pop(component)
        nothing = Estimate(0.0, 0.0, 0.0)
        moved = [
            (name, one) for name, one in growth.items() if one.differs_from(nothing, TOLERANCE, len(growth))
        ]
        return path, found, tuple(sorted(moved, key=lambda pair: -abs(pair[1].value))), None


def _put_in_ms(block: WhatIfBlock) -> float:
    """Per request that was answered meanwhile."""
    return block.put_in_ns / 1e6 / block.answered if block.answered else math.nan


def _growth(slow: Components, usual: Components, component: str) -> float:
    return slow.get(component, 0.0) - usual.get(component, 0.0)
