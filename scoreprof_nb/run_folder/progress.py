"""How a long task reports its progress."""

from collections.abc import Callable

LogProgress = Callable[[str], None]  # takes one line of text
