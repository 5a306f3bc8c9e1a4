"""Texts from outside cannot become HTML or Markdown: labels, failures, log lines, file and component names.

What the notebooks show goes through nbconvert as in report.html; the result is parsed, and must have the same
elements and attributes whatever the text is.
"""

import functools
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from scoreprof_nb.comparison.history import History
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import (
    comparison_files,
    comparison_leads,
    finding_cards,
    overview,
    profile_files,
    profile_tables,
    quality_tables,
)
from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.comparison_verdict import conditions_markdown
from scoreprof_nb.report.format import code_block, escape_html, escape_markdown, one_line
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_verdict import path_notes
from scoreprof_nb.report.profile_verdict import verdict_markdown as run_verdict
from scoreprof_nb.report.summary_markdown import summary_markdown
from scoreprof_nb.report.table_html import table_html
from scoreprof_nb.run_folder.folder import RunFolder
from tests.support.compared_runs import compared, report_of, side
from tests.support.written_run import write_run

SCRIPT = "x<script>document.title='changed'</script>"
HARMLESS = "x"

COMPARISON_LEADS = (
    comparison_leads.correctness_lead,
    comparison_leads.cause_lead,
    comparison_leads.functions_lead,
    comparison_leads.noise_lead,
)


class Elements(HTMLParser):
    """The elements but for line-break hints, with the names of the attributes that can act, and the text."""

    def __init__(self):
        super().__init__()
        self.elements, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "wbr":
            acting = tuple(name for name, _ in attrs if name not in ("id", "class"))
            self.elements.append((tag, acting if tag != "a" else ()))

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    parser = Elements()
    parser.feed(html)
    parser.close()
    return parser.elements, " ".join("".join(parser.text).split())


def rendered(markdown):
    return parsed(markdown2html_mistune(markdown))


HOSTILE = st.lists(
    st.sampled_from(
        [
            *(
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                "<!--",
                "-->",
                "&lt;",
                "&#60;",
                "<b",
            ),
            *(
                "[a](javascript:alert(1))",
                "![a](http://b)",
                "http://a.b/c",
                "www.a.b",
                "<a@b.c>",
                "[x]: http://a",
            ),
            *(
                "```",
                "~~~",
                "`",
                "$",
                "$$",
                "\\(",
                "\\[",
                "\\begin{a}",
                "\\end{a}",
                "**",
                "__",
                "_",
                "~~",
                "|",
            ),
            *(
                "| a |\n|---|",
                "\n\n",
                "\n",
                "# ",
                "- ",
                "1. ",
                "> ",
                "===",
                "---",
                ": ",
                "[ ] ",
                "\\",
                "a_b",
                " ",
            ),
        ]
    )
    | st.text(max_size=4),
    min_size=1,
    max_size=6,
).map("".join)
PLACES = {
    "list": "- {}\n- b",
    "bold": "**{}.** c",
    "heading": "# {}: z\n\ntext",
    "table": "| a | b |\n|---|---|\n| {} | q |",
    "numbered": "1. {}\n2. {}",
    "twice": "x {} y {} z",
}


@settings(deadline=None)
@given(HOSTILE, st.sampled_from(sorted(PLACES)))
def test_no_element_stems_from_an_escaped_text_and_the_text_is_shown(text, place):
    escaped = escape_markdown(text)
    elements, shown = rendered(PLACES[place].replace("{}", escaped))
    expected_elements, expected = rendered(PLACES[place].replace("{}", "QQ"))
    if not escaped:
        return  # white space only
    assert elements == expected_elements
    if not any(
        letter < " " or "\x7f" <= letter <= "\x9f" or "\ud800" <= letter <= "\udfff" for letter in text
    ):
        assert shown == expected.replace("QQ", one_line(text))


@settings(deadline=None)
@given(HOSTILE)
def test_no_line_ends_a_code_block(text):
    elements, _ = rendered(f"a\n\n{code_block(text)}\n\nb")
    assert {name for name, _ in elements} <= {"p", "div", "pre", "span"}


@settings(deadline=None, max_examples=30)
@given(HOSTILE)
def test_no_element_stems_from_a_cell_or_a_header_of_a_table(text):
    def elements(word):
        return parsed(table_html(pd.DataFrame({word: [word, "b"], "of": ["b", word]})))[0]

    assert elements(text) == elements("x")


def test_usual_texts_are_not_changed():
    """Broken: ordinary text and log lines are shown with escape characters."""
    for text in (
        "serving-fixes",
        "20261124-100000-main",
        "device_wait 4.0 ms (3.1 to 5.2), 81%",
        "it's: a/b.c",
    ):
        assert escape_markdown(text) == text


def test_escaping_html():
    assert escape_html("<a href='x'>") == "&lt;a href=&#x27;x&#x27;&gt;"


# ---- every place where a report shows a text from outside


def html_of(outputs):
    """report.html of a notebook that shows Markdown (texts) and tables."""
    cells = []
    for output in outputs:
        if isinstance(output, str):
            data = {"text/markdown": output}
        else:
            data = {"text/html": output.text if isinstance(output, Html) else table_html(output)}
        cells.append(nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)]))
    notebook = nbformat.v4.new_notebook(cells=cells)
    return exporter().from_notebook_node(notebook)[0]


@functools.cache
def exporter():
    return HTMLExporter(exclude_input=True, mathjax_url="", require_js_url="")


def assert_inert(outputs_of):
    """The page has the same elements with a script in the texts as without."""
    hostile, harmless = (html_of(outputs_of(text)) for text in (SCRIPT, HARMLESS))
    assert "<script>document.title" not in hostile
    assert parsed(hostile)[0] == parsed(harmless)[0]


@pytest.fixture(scope="module")
def run_with(tmp_path_factory):
    """The report of a run whose label, failure, provenance and parameters hold a text."""
    made = {}

    def make(text):
        if text not in made:
            path = tmp_path_factory.mktemp("run")
            write_run(path, recording="whole")
            folder = RunFolder(path)
            manifest = folder.read_manifest()
            folder.write_provenance({"host": text})
            parameters = {**manifest.parameters, "server_flags": text}
            folder.write_manifest(
                type(manifest)(
                    **{
                        **vars(manifest),
                        "label": text,
                        "status": "partial",
                        "failure": f"server ended:\n```\n{text}",
                        "parameters": parameters,
                    }
                )
            )
            (path / f"{text.replace('/', '')}.txt").write_text("")
            made[text] = make_report(Parameters(run_dir=str(path)))
        return made[text]

    return make


RUN_OUTPUTS = {
    "verdict": run_verdict,
    "path notes": path_notes,
    "overview": overview.overview_markdown,
    "phases": overview.phases_table,
    "findings": finding_cards.finding_cards,
    "summary.md": lambda report: summary_markdown(report, str(report.folder)),
    "provenance": profile_tables.provenance_table,
    "parameters": profile_tables.parameters_table,
    "files": profile_files.files_table,
}


@pytest.mark.parametrize("name", RUN_OUTPUTS)
def test_a_script_in_a_run_is_shown_and_does_not_run(run_with, name):
    """Broken: a label of a run changes the page that shows it."""
    assert_inert(lambda text: [RUN_OUTPUTS[name](run_with(text))])


@functools.cache
def compared_with(text):
    control = side(label=text, parameters={"server_flags": text})
    test = side(at=1, label=f"{text} test", provenance={"sglang_jax": text})
    for run in (*control, *test):
        run.phases[0].name = text
    stopped = {"control": (), "test": (f"pair 1: {text}",)}
    return report_of(compared(control, test, stopped=stopped), missing=text, compare_dir=f"/tmp/{text}")


COMPARISON_OUTPUTS = {
    "conditions": lambda report: "\n".join(conditions_markdown(report)),
    "leads": lambda report: "\n\n".join(
        [
            comparison_leads.verdict_lead(report),
            *(lead(report.comparison) for lead in COMPARISON_LEADS),
        ]
    ),
    "comparison.md": comparison_files.as_markdown,
    "files": comparison_files.files_table,
    "differences": lambda report: report.comparison.comparability,
}


@pytest.mark.parametrize("name", COMPARISON_OUTPUTS)
def test_a_script_in_a_comparison_is_shown_and_does_not_run(name):
    assert_inert(lambda text: [COMPARISON_OUTPUTS[name](compared_with(text))])


def test_a_script_in_a_file_name_of_the_history_does_not_run():
    empty = pd.DataFrame({"run_id": []})
    assert_inert(
        lambda text: [comparison_leads.history_lead(History(empty, empty, (f"/runs/{text}: not JSON",)))]
    )


def test_a_script_in_a_finding_or_a_check_does_not_run():
    """Broken: a script in the name of a user's component, or in a log line that a check quotes, runs."""
    phase = SimpleNamespace(name=HARMLESS)

    def outputs(text):
        check = SimpleNamespace(phase=phase.name, name=text, passed=False, text=text)
        analysis = SimpleNamespace(phases=[SimpleNamespace(quality=SimpleNamespace(checks=[check]))])
        return [quality_tables.checks_table(SimpleNamespace(analysis=analysis)), escape_markdown(text)]

    assert_inert(outputs)
