"""Texts of requests are personal data: what a server repeats of them in an answer is not kept."""

import json

import pytest

from scoreprof_nb.capture.client import Response, judge
from scoreprof_nb.capture.echoes import TEXT, without_texts
from scoreprof_nb.parameters.requests_file import RequestBody

QUERY = 'Is "Ada Lovelace", born 1815,\nthe patient of Dr. Müller?'
ITEM = "diagnosis: migraine since the journey to Bath"
BODY = json.dumps({"query": QUERY, "items": [ITEM, "Yes!"], "label_token_ids": [1, 2]}).encode()
WORDS = ("Lovelace", "1815", "patient", "Müller", "M\\u00fc", "migraine", "journey", "Yes!")


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"detail": [{"type": "missing", "loc": ["body"], "input": json.loads(BODY)}]}),
        json.dumps({"detail": {"input": QUERY}}, ensure_ascii=False),
        f"ValueError: cannot score {QUERY!r} with {ITEM!r}",
        f"text too long: {ITEM[:30]}... (truncated)",
        f"item: Yes!, query: {QUERY}",
    ],
)
def test_what_a_server_repeats_is_not_kept(answer):
    """Broken: a rejected request, with a person's name in it, is in phase.json, the report and the bucket."""
    clean = without_texts(answer, BODY)
    assert TEXT in clean
    for word in WORDS:
        assert word not in clean, clean
    failed = judge(Response(422, answer.encode()), RequestBody("file", 2, BODY, 2))
    assert failed.error == "http_422"
    assert not any(word in failed.message for word in WORDS)


def test_what_the_server_says_itself_is_kept():
    """Broken: the reason of a failure cannot be read."""
    answer = '{"error": "items must not be empty, the query has 12 tokens; since when?"}'
    assert without_texts(answer, BODY) == answer


def test_token_ids_are_texts_too():
    """Broken: the tokens of a text are published, which give the text."""
    body = json.dumps({"query": list(range(100, 140)), "items": [[7, 8]]}).encode()
    assert without_texts(f"bad query {list(range(100, 140))}", body) == f"bad query [{TEXT}]"
