"""The top of a report: the answer, the first table, what was measured, and the contents."""

from collections.abc import Iterable
from importlib.resources import files

from scoreprof_nb.notebook.display import Section, show
from scoreprof_nb.report.answer import answer
from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.format import escape_html
from scoreprof_nb.report.group_table import group_table
from scoreprof_nb.report.overview import glossary, means_note, overview_markdown, phases_table, title
from scoreprof_nb.report.profile import Report
from scoreprof_nb.report.profile_verdict import verdict_markdown

_ASSETS = files("scoreprof_nb.report") / "assets"


def show_answer(report: Report) -> None:
    """The title, the answer, the first table, and what was measured."""
    show(Html(f"<h1>{escape_html(title(report))}</h1>"))
    show(page_assets())
    show(Html(f'<div class="sp-answer" id="answer"><p>{escape_html(answer(report))}</p></div>'))
    show(verdict_markdown(report))
    show(group_table(report.analysis))
    show(means_note(report) or None)
    show(Html('<h2 id="measured">What was measured</h2>'))
    show(overview_markdown(report))
    show(phases_table(report))
    show(glossary())


def page_assets() -> Html:
    """Styles and scripts: what they add, such as sorting, is not needed to read the page."""
    style, sorting, script = (
        (_ASSETS / name).read_text(encoding="utf-8")
        for name in ("report.css", "sortable.auto.min.js", "report.js")
    )
    return Html(f"<style>{style}</style><script>{sorting}</script><script>{script}</script>")


def contents_of(made: Iterable[Section | None]) -> Html:
    """Links to the sections that are there."""
    sections = [section for section in made if section is not None]
    links = "".join(
        f'<li><a href="#{escape_html(section.anchor)}">{escape_html(section.title)}</a></li>'
        for section in sections
    )
    return Html(f'<nav aria-label="contents"><b>Contents</b><ul class="sp-contents">{links}</ul></nav>')
