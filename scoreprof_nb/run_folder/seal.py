"""JSON files with a checksum of themselves, so that a flipped bit is noticed and not read as another number.

The checksum is the first key, and is of the text without that line. A file that another program wrote anew
has another layout: its checksum is not checked, and the reader drops it.
"""

import hashlib
import json
import re
from typing import Any

from scoreprof_nb.run_folder.plain_text import plain_json

KEY = "checksum"
_FIRST_LINE = re.compile(rb'\A\{\n "checksum": "([0-9a-f]{64})",')
_START = "{\n"


def sealed_json(value: dict[str, Any]) -> str:
    """The text of a JSON object, with its checksum, inert in a terminal. An empty object has none."""
    text = plain_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
    if not value:
        return text
    checksum = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return f'{_START} "{KEY}": "{checksum}",\n' + text.removeprefix(_START)


def check_seal(content: bytes) -> None:
    """Raises ValueError when the file differs from its own checksum."""
    match = _FIRST_LINE.match(content)
    if match is None:
        return
    if hashlib.sha256(b"{" + content[match.end() :]).hexdigest().encode() != match[1]:
        raise ValueError(
            f"it differs from its own checksum, so it is damaged (if you edited it, remove its line {KEY!r})"
        )
