"""The runner's output, which a run survives: its reader may end, its terminal close, its disk fill up."""

import os
import sys
from contextlib import suppress
from io import TextIOBase
from typing import TextIO, cast, override


class Expendable(TextIOBase):
    """A text stream that drops what can no longer be written, from the first failure on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @override
    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    @override
    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    @override
    def fileno(self) -> int:
        return self._stream.fileno()

    @override
    def isatty(self) -> bool:
        return self._stream.isatty()

    def _drop(self) -> None:
        """Have what is still buffered, and all that follows, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(OSError):
            self._stream.flush()


def outlive_the_terminal() -> None:
    """From now on, a print to stdout or stderr of this process never fails."""
    sys.stdout = cast(TextIO, Expendable(sys.stdout))
    sys.stderr = cast(TextIO, Expendable(sys.stderr))
