"""Any recording of py-spy that the kit can read; the content says which format it is."""

import gzip
import zlib
from pathlib import Path

from scoreprof_nb.stacks.folded import parse_folded
from scoreprof_nb.stacks.speedscope import parse_speedscope
from scoreprof_nb.stacks.table import ImportFailed, StackTable

_GZIP = b"\x1f\x8b"


def read_recording(path: Path) -> StackTable:
    """Read a speedscope or a raw file, gzipped or not. Raises ImportFailed, saying where and why."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ImportFailed(f"{path}: cannot be read: {error}") from error
    if not text.strip():
        raise ImportFailed(f"{path}: is empty")
    parse = parse_speedscope if text.lstrip().startswith("{") else parse_folded
    return parse(text, str(path))
