"""Progress lines and their frequency."""

import time
from collections.abc import Callable

PROGRESS_S = 5.0

LogProgress = Callable[[str], None]


class Throttle:
    """Limits progress lines to one every few seconds, the first one after a delay."""

    def __init__(self, every_s: float = PROGRESS_S) -> None:
        self._every_s = every_s
        self._last_s = time.monotonic()

    def due(self) -> bool:
        """Whether the next line is due; if so, restart the interval."""
        if time.monotonic() - self._last_s <= self._every_s:
            return False
        self._last_s = time.monotonic()
        return True
