"""The frequency of progress lines."""

import time

PROGRESS_S = 5.0


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
