"""Pictures in a notebook are not searched for patterns; what only looks like one is."""

import base64
import struct
import zlib

import pytest

from scoreprof_nb.redact import MASK, Redactor
from scoreprof_nb.redact.pictures import is_picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9"


def chunk(kind, content=b""):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PICTURE = SIGNATURE + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", b"pixels" * 40) + chunk(b"IEND")
TEXT = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize("text", [TEXT, TEXT + "\n"])
def test_picture_stays_as_it_is(text):
    """Broken: the redaction of a report would take twice the time, or spoil its figures."""
    assert is_picture(text)
    assert Redactor().deep([{"image/png": text}]) == [{"image/png": text}]


def test_known_secret_is_removed_from_a_picture_too():
    """Broken: a secret whose value is known would be left where it happens to look like a picture's bytes."""
    secret = TEXT[60:80]
    assert secret not in Redactor((secret,)).deep(TEXT)


@pytest.mark.parametrize(
    "text",
    [
        f"{TEXT} {TOKEN}",
        f"{TEXT}\n{TOKEN}",
        f"{TOKEN} {TEXT}",
        f"{TEXT[:12]} token={TOKEN}",
        f"{TEXT[:40]} {TOKEN} {TEXT[40:]}",
    ],
)
def test_token_beside_a_picture_is_found(text):
    """Broken: a text would keep its secrets if it begins like a picture."""
    assert not is_picture(text)
    assert TOKEN not in Redactor().deep(text)
    assert MASK in Redactor().deep(text)


@pytest.mark.parametrize(
    "content",
    [
        PICTURE[:-1],
        PICTURE + b"more",
        PICTURE[:-12],
        PICTURE.replace(b"pixels", b"hidden", 1),
        SIGNATURE,
        SIGNATURE + struct.pack(">I", 2**32 - 1) + b"IDAT",
    ],
)
def test_damaged_picture_is_text(content):
    """Broken: text between a picture's signature and its end would be taken for a picture."""
    assert not is_picture(base64.b64encode(content).decode())
