"""When a comparison is looked at, and how much of the error each look may spend.

A verdict at every look would call chance a change more often than one verdict at the end. So the error is
divided: the parts of all looks sum to at most ERROR, whatever the data are (Bonferroni over the looks). A
later look gets more, in proportion to the cube of its pairs: a clear case ends early all the same, and a case
near the margin needs the precision of many pairs. A plan spends SPENT of what is left, so that a comparison
can be extended by hand: the further looks share what remains.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.comparison.claims import ERROR
from scoreprof_nb.parameters.compare import FEWEST_PAIRS, FIRST_LOOK
from scoreprof_nb.run_folder.files import LOOKS_TAKEN
from scoreprof_nb.run_folder.folder import write_json, write_text

# 6, 9, 12, ... pairs, each rounded to an even number: ABBA is complete after every second pair, and only then
# does a linear drift of the machine cancel.
LOOKS = (FIRST_LOOK, 8, 12, 16, 20, 24, 30)
SPENT = 0.9  # of the error that is left, by one plan
_EXPONENT = 3
ONE_LOOK = SPENT * ERROR  # the level of a comparison that is looked at once


@dataclass(frozen=True)
class Look:
    """A look after so many pairs, and its part of the error. ``taken``: an earlier call took it."""

    pairs: int
    level: float
    taken: bool = False


def looks_at(pairs: int, at_most: int) -> tuple[int, ...]:
    """The numbers of pairs after which a comparison is looked at. With fewer than FIRST_LOOK pairs there is
    no verdict to wait for: a single look."""
    if pairs < FIRST_LOOK or at_most <= pairs:
        return (pairs,)
    return (pairs, *(look for look in LOOKS if pairs < look < at_most), at_most)


def plan(pairs: int, at_most: int, taken: Sequence[Look] = ()) -> tuple[Look, ...]:
    """The looks of a comparison, those that were taken first. The levels of the others share the error that
    is left: extending a finished comparison by hand takes further looks at what the first plan left over."""
    last = max((look.pairs for look in taken), default=0)
    ahead = [look for look in looks_at(pairs, at_most) if look > last]
    left = SPENT * (ERROR - sum(look.level for look in taken))
    weights = [look**_EXPONENT for look in ahead]
    planned = [Look(look, left * weight / sum(weights)) for look, weight in zip(ahead, weights, strict=True)]
    return (*taken, *planned)


class LookBook:
    """The looks of the comparison in a folder, in the file LOOKS_TAKEN: they cannot be taken back.

    The levels are those of the first plan until ``at_most`` changes: stopping and resuming costs nothing.
    """

    def __init__(self, folder: Path, results_dir: str = "") -> None:
        """``results_dir``: where an earlier attempt may have published the file."""
        self._path = folder / LOOKS_TAKEN
        published = Path(results_dir, LOOKS_TAKEN)
        if results_dir and published.exists() and not self._path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(self._path, published.read_text(encoding="utf-8"))

    def looks(self, pairs: int, at_most: int) -> tuple[Look, ...]:
        """The plan, from the last look that was taken: that one is repeated without spending anything."""
        known, planned_for = self._read()
        taken = tuple(look for look in known if look.taken)
        if planned_for == [pairs, at_most] and known:
            looks: Sequence[Look] = known
        else:
            looks = plan(pairs, at_most, taken)
            self._write(looks, [pairs, at_most])
        return tuple(looks[max(len(taken) - 1, 0) :])

    def take(self, pairs: int) -> None:
        """Record that the comparison was looked at after so many pairs. With too few pairs for any claim,
        nothing was spent."""
        if pairs < FEWEST_PAIRS:
            return
        known, planned_for = self._read()
        self._write(
            [Look(look.pairs, look.level, look.taken or look.pairs == pairs) for look in known], planned_for
        )

    def _read(self) -> tuple[list[Look], list[int]]:
        if not self._path.exists():
            return [], []
        content = json.loads(self._path.read_text(encoding="utf-8"))
        return [Look(**look) for look in content["looks"]], content["planned_for"]

    def _write(self, looks: Sequence[Look], planned_for: Sequence[int]) -> None:
        rows = [{"pairs": look.pairs, "level": look.level, "taken": look.taken} for look in looks]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {"planned_for": list(planned_for), "looks": rows})
