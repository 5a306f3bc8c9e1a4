"""The user's own requests: each line becomes a body that can be sent, or an error that names the line."""

import json

import pytest

from scoreprof_nb.parameters.requests_file import read_requests_file
from scoreprof_nb.parameters.schema import ParameterError

BODY = '{"query": "q", "items": ["a", "b"]}'


def requests_file(tmp_path, text):
    path = tmp_path / "own.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_bodies_get_the_labels_and_model_they_lack(tmp_path):
    """Broken: a body lacks its labels or model, or loses its own."""
    path = requests_file(
        tmp_path, BODY + '\n{"query": [1], "items": [[2]], "label_token_ids": [7], "model": "m"}'
    )
    first, second = read_requests_file(path, [5, 6])
    assert (first.kind, first.items, first.labels) == ("file", 2, 2)
    assert (second.kind, second.items, second.labels) == ("file", 1, 1)
    assert json.loads(first.payload) == {
        "query": "q",
        "items": ["a", "b"],
        "label_token_ids": [5, 6],
        "model": "default",
    }
    assert json.loads(second.payload) == {"query": [1], "items": [[2]], "label_token_ids": [7], "model": "m"}


def test_blank_lines_are_left_out_and_counted_in_line_numbers(tmp_path):
    """Broken: a blank line is sent, or shifts the line numbers of errors."""
    assert len(read_requests_file(requests_file(tmp_path, f"\n{BODY}\r\n  \n{BODY}\n\n"), [5])) == 2
    with pytest.raises(ParameterError, match="line 4: not JSON"):
        read_requests_file(requests_file(tmp_path, f"\n{BODY}\n\nbroken\n"), [5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'{BODY}\n{{"query": "q", "items": ["a"', "line 2: not JSON"),
        (f"{BODY}\n[1, 2]", "line 2: not a JSON object"),
        ('{"items": ["a"]}', "line 1: lacks 'query'"),
        ('{"query": 3, "items": ["a"]}', "line 1: lacks 'query'"),
        ('{"query": "q"}', "line 1: 'items' must be a list with at least one item"),
        ('{"query": "q", "items": []}', "line 1: 'items' must be a list with at least one item"),
        (
            '{"query": "q", "items": ["a"], "label_token_ids": null}',
            "line 1: 'label_token_ids' must be a list",
        ),
        ('{"query": "q", "items": "abc"}', "line 1: 'items' must be a list with at least one item"),
        ("", "holds no request"),
        ("\n \n", "holds no request"),
    ],
)
def test_file_that_cannot_be_sent_names_the_line(tmp_path, text, says):
    """Broken: an error does not name the line."""
    path = requests_file(tmp_path, text)
    with pytest.raises(ParameterError) as caught:
        read_requests_file(path, [5])
    assert caught.value.name == "requests_file"
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_unreadable_file_is_a_parameter_error(tmp_path):
    """Broken: a file that cannot be read gives a traceback."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, binary):
        with pytest.raises(ParameterError, match=r"requests_file=.*cannot be read"):
            read_requests_file(path, [])


@pytest.mark.parametrize("mark", ["\u2028", "\x85"])
def test_line_separators_inside_json_strings_do_not_end_a_line(tmp_path, mark):
    r"""Broken: a separator that JSON allows within a string cuts a line in two; JSONL lines end at \n only."""
    path = requests_file(tmp_path, json.dumps({"query": f"a{mark}b", "items": ["c"]}, ensure_ascii=False))
    (body,) = read_requests_file(path, [5])
    assert json.loads(body.payload)["query"] == f"a{mark}b"
