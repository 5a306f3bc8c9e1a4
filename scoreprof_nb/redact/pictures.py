"""Pictures in a notebook: a megabyte of base64 text that no pattern has to be looked for in."""

import base64
import binascii
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BEGINNING = base64.b64encode(_SIGNATURE).decode().rstrip("=")[:-1]  # its last letter depends on what follows
_FRAME = 12  # bytes of a chunk beside its content: length, kind, checksum


def is_picture(text: str) -> bool:
    """Whether the text is one whole PNG file in base64 and nothing else, by the checksums of its parts."""
    if not text.startswith(_BEGINNING):
        return False
    try:
        content = base64.b64decode(text.rstrip("\n"), validate=True)
    except (binascii.Error, ValueError):
        return False
    at = len(_SIGNATURE)
    while content.startswith(_SIGNATURE) and at + _FRAME <= len(content):
        end = at + _FRAME + int.from_bytes(content[at : at + 4])
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return end == len(content)
        at = end
    return False
