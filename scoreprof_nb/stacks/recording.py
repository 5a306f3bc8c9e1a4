"""Reads any supported recording of py-spy; the format is recognised by content, not by file name."""

import gzip
import zlib
from pathlib import Path

from scoreprof_nb.stacks.chrometrace import parse_chrometrace
from scoreprof_nb.stacks.folded import parse_folded
from scoreprof_nb.stacks.labels import read_bytes
from scoreprof_nb.stacks.speedscope import parse_speedscope
from scoreprof_nb.stacks.table import ImportFailed, StackTable

GZIP = b"\x1f\x8b"
BLANK = b"\xef\xbb\xbf \t\r\n"  # with the byte-order mark that some editors write


def read_recording(path: Path) -> StackTable:
    """Read a recording in py-spy's format ``speedscope``, ``raw`` or ``chrometrace``, gzipped or not.

    See ``read_speedscope``, ``read_folded`` and ``parse_chrometrace`` for the table. Raises ImportFailed if
    the file is empty or in none of them.
    """
    data = read_bytes(path)
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ImportFailed(f"{path}: damaged gzip file: {error}") from error
    begin = data.lstrip(BLANK)[:1]
    if not begin:
        raise ImportFailed(f"{path}: the file is empty")
    if begin == b"{":
        return parse_speedscope(data, str(path))
    if begin == b"[":
        return parse_chrometrace(data, str(path))
    return parse_folded(data, str(path))
