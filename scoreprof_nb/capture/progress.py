"""Progress lines, and how often they come."""

import time
from collections.abc import Callable

PROGRESS_S = 5.0

LogProgress = Callable[[str], None]


class Throttle:
    """True at most every few seconds, and not at once."""

    def __init__(self, every_s: float = PROGRESS_S) -> None:
        self._every_s = every_s
        self._last_s = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another line; if so, the time starts again."""
        if time.monotonic() - self._last_s <= self._every_s:
            return False
        self._last_s = time.monotonic()
        return True
