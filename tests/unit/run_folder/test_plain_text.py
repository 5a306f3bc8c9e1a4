"""Text from outside is inert wherever it is shown."""

import html
import json
import re
from xml.sax.saxutils import escape

import pandas as pd
import pytest
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from scoreprof_nb.capture.server_log import ServerLog
from scoreprof_nb.flamegraph.differential import diff_flame_graph
from scoreprof_nb.flamegraph.page import View, flame_page
from scoreprof_nb.flamegraph.svg import flame_graph
from scoreprof_nb.notebook.profile import progress_logger
from scoreprof_nb.redact import Redactor
from scoreprof_nb.report.format import code_block, escape_html, escape_markdown
from scoreprof_nb.report.table_html import table_html
from scoreprof_nb.run_folder.folder import write_json
from scoreprof_nb.run_folder.plain_text import plain_text
from scoreprof_nb.runner.finalize import log_error

BIDI = "\u202etxt.exe\u202c \u2066a\u2069 \u200f\u061c"
EVIL = f"\x1b[2J\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1bPq\x1b\\ \x9b1m {BIDI} \x07\x08"
MARKS = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)]


def assert_inert(text):
    for mark in ("\x1b", "\x9b", "\x07", "\x08", *MARKS):
        assert mark not in text, ascii(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mERROR\x1b[0m: x", "ERROR: x"),
        ("\x1b]0;new title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b", "a\ufffd"),
        ("abc\u202edcba", "abc\ufffddcba"),
        ("tab\tand\nline\r\n", "tab\tand\nline\r\n"),
        ("Grüße, 東京, עברית, ❤\ufe0f, 👩\u200d🔬", "Grüße, 東京, עברית, ❤\ufe0f, 👩\u200d🔬"),
    ],
)
def test_escape_sequences_go_and_languages_stay(text, expected):
    """Broken: a label clears the screen, or a Hebrew one is mangled."""
    assert plain_text(text) == expected


def test_json_of_a_run_folder_is_inert_and_whole(tmp_path):
    """Broken: `cat manifest.json` obeys a label, or the label is not what the user gave."""
    label = EVIL + "\ud800\x7f"
    write_json(tmp_path / "manifest.json", {"label": label})
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert_inert(text)
    assert json.loads(text) == {"label": label}


def in_table(text):
    return table_html(pd.DataFrame({"label": [text]}))


@pytest.mark.parametrize("write", [escape_markdown, escape_html, code_block, in_table, plain_text])
def test_every_way_into_a_report(write):
    """Broken: a label reads otherwise than what it says."""
    assert_inert(write(EVIL))


def in_flame_graph(text):
    return flame_graph([([text], "batch", 1.0)], title=text, subtitle=text, unit=text)


def in_differential_flame_graph(text):
    return diff_flame_graph([((text,), 1.0, 2.0)], widths="test", title=text, subtitle=text, unit=text)


def in_flame_page(text):
    """The names in a page's lists, as its script reads them: it undoes JSON's escapes."""
    page = flame_page([View(text, in_flame_graph(text), [text], ["batch"])])
    (threads,) = re.findall('data-threads="([^"]*)"', page)
    names = json.loads(html.unescape(threads))
    assert escape(names[0]) in in_flame_graph(text), "a thread that is not in the picture cannot be selected"
    return page + "".join(names)


@pytest.mark.parametrize("draw", [in_flame_graph, in_differential_flame_graph, in_flame_page])
def test_flame_graphs(draw):
    """Broken: the name of a function or a label reads otherwise than what it says in a flame graph."""
    svg = draw(EVIL)
    assert "txt.exe" in svg
    assert_inert(svg)


def test_markdown_of_a_notebook():
    """Broken: an entity or a tag brings the mark back."""
    assert_inert(markdown2html_mistune(escape_markdown(EVIL)))


def test_terminal(capsys):
    """Broken: a server's log line, shown as the reason of a failure, takes over the terminal."""
    progress_logger()(EVIL)
    log_error(EVIL)
    output = capsys.readouterr()
    assert "red" in output.out
    assert "red" in output.err
    assert_inert(output.out + output.err)


def test_server_log(tmp_path):
    """Broken: `cat server.log` obeys the server, or colours keep its lines from being recognised."""
    log = ServerLog(tmp_path / "server.log", Redactor())
    log.note(EVIL)
    log.close()
    assert_inert((tmp_path / "server.log").read_text())
    assert_inert(log.tail())
