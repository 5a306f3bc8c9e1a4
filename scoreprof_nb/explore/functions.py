"""Callers and callees of a function, from a table of stacks."""

from collections import Counter

import pandas as pd


def callers(stacks: pd.DataFrame, function: str, value: str) -> pd.DataFrame:
    """Who calls a function: columns function, ``value``, share (of the function's total, 0 to 1).

    ``stacks``: columns ``frames`` (root first) and ``value``; ``function``: a part of ``function (file)``.
    """
    return _neighbours(stacks, function, value, -1)


def callees(stacks: pd.DataFrame, function: str, value: str) -> pd.DataFrame:
    """What a function calls: as in ``callers``; ``(itself)``: the function is the innermost frame."""
    return _neighbours(stacks, function, value, 1)


def _neighbours(stacks: pd.DataFrame, function: str, value: str, step: int) -> pd.DataFrame:
    amounts: Counter[str] = Counter()
    for frames, amount in zip(stacks["frames"], stacks[value], strict=True):
        places = [at for at, frame in enumerate(frames) if function in frame]
        if not places:
            continue
        at = (places[0] if step < 0 else places[-1]) + step  # a recursive function counts once
        name = frames[at] if 0 <= at < len(frames) else ("(thread)" if step < 0 else "(itself)")
        amounts[name] += amount
    total = sum(amounts.values())
    rows = [(name, amount, amount / total) for name, amount in amounts.most_common()]
    return pd.DataFrame(rows, columns=["function", value, "share"])
