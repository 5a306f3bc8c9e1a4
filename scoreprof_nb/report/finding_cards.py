"""The findings as HTML: what each component is, what it costs, where to look, and what others did."""

from collections.abc import Sequence

from scoreprof_nb.report.blocks import Html
from scoreprof_nb.report.component_findings import ComponentFinding
from scoreprof_nb.report.format import escape_html, interval, milliseconds, number, percent, speedup
from scoreprof_nb.report.profile import Report

_HEADINGS = {
    "host": "On the host, the largest first",
    "compile": "Compiling",
    "device": "The device",
}
_FOLDED_AFTER = 6  # findings of a class; the rest is folded


def finding_cards(report: Report) -> Html:
    """All findings by class."""
    parts = []
    for kind, heading in _HEADINGS.items():
        found = [finding for finding in report.component_findings if finding.group.kind == kind]
        if found:
            parts.append(f"<h3>{heading}</h3>")
            parts += [_card(finding) for finding in found[:_FOLDED_AFTER]]
            parts.append(_folded(found[_FOLDED_AFTER:]))
    return Html("".join(parts))


def _folded(findings: Sequence[ComponentFinding]) -> str:
    if not findings:
        return ""
    largest = milliseconds(findings[0].largest.ms_per_request)
    cards = "".join(_card(finding) for finding in findings)
    return (
        f'<details class="sp-note"><summary>{len(findings)} smaller findings, at most {largest} each'
        f"</summary>{cards}</details>"
    )


def _card(finding: ComponentFinding) -> str:
    component = finding.component
    title = f"{component.name}: {cost_text(finding)}"
    swatch = f'<span class="sp-swatch" style="background: {escape_html(component.colour)}"></span>'
    lines = [
        _line("What it is", "; ".join(filter(None, (component.meaning, component.advice)))),
        _line("How much at most", _bound(finding)),
        _line("Measured", "; ".join(finding.doubts)),
        _evidence(finding),
        _fixes(finding),
    ]
    return (
        f'<div class="sp-finding" id="{escape_html(finding.anchor)}">'
        f"<h4>{swatch}{escape_html(title)}</h4><ul>{''.join(lines)}</ul></div>"
    )


def finding_text(finding: ComponentFinding) -> str:
    """The finding as one line of plain text."""
    component, found = finding.component, finding.evidence
    about = "; ".join(filter(None, (component.meaning, component.advice)))
    place = f"; open first {found.place}" if found else ""
    doubts = "".join(f"; {doubt}" for doubt in finding.doubts)
    return f"{component.name} ({about}): {cost_text(finding)}; {_bound(finding)}{place}{doubts}"


def cost_text(finding: ComponentFinding) -> str:
    """``0.8, 1.3, 12.5 ms in single, small, large: 0.4 ms per item``: means per request, of the phases with a
    finding."""
    costs = list(finding.costs.values())
    cpu = "" if any(cost.max_speedup is not None for cost in costs) else " of CPU time"
    values = ", ".join(number(cost.ms_per_request) for cost in costs)
    slope = "" if finding.per_item is None else f": {per_item_text(finding)} per item"
    return f"{values} ms{cpu} in {', '.join(cost.phase for cost in costs)}{slope}"


def per_item_text(finding: ComponentFinding) -> str:
    """``0.37 ms``; empty where it is not known."""
    return "" if finding.per_item is None else f"{number(finding.per_item[0], 2)} ms"


def _bound(finding: ComponentFinding) -> str:
    cost = finding.largest
    size = f"{milliseconds(cost.ms_per_request)} of a {cost.phase} request (95 % interval "
    text = f"{size}{interval(cost.low, cost.high)})"
    if cost.max_speedup is None:
        return f"{text} of CPU time" if cost.low == cost.low else f"{text} of CPU time; interval not known"
    best = max(finding.costs.values(), key=lambda c: c.max_speedup or 1.0)
    where = "" if best.phase == cost.phase else f" in {best.phase}"
    return f"{text}; without it, at most {speedup(best.max_speedup)} as fast{where}"


def _evidence(finding: ComponentFinding) -> str:
    found = finding.evidence
    if found is None:
        return _line("Evidence", "no stack shows it: it is the time in which no thread of the server works")
    inner = (
        "" if found.place.startswith(found.innermost.split(" (")[0]) else f", most often in {found.innermost}"
    )
    text = (
        f"{found.place}{inner}: {percent(found.share, 0)} of its time in {found.phase}, thread {found.thread}"
    )
    stack = (
        '<details class="sp-fold"><summary>top stack, innermost frame first</summary>'
        f"<pre>{escape_html(found.stack)}</pre></details>"
    )
    return (
        f'<li><b>Open first:</b> {escape_html(text)} (<a href="#hot-functions">all functions</a>){stack}</li>'
    )


def _fixes(finding: ComponentFinding) -> str:
    texts = []
    for fix in finding.fixes:
        links = ", ".join(f'<a href="{escape_html(url)}">{escape_html(name)}</a>' for name, url in fix.issues)
        texts.append(f"{escape_html(fix.what)}{f' ({links})' if links else ''}")
    return f"<li><b>What others did:</b> {'; '.join(texts)}</li>" if texts else ""


def _line(title: str, text: str) -> str:
    return f"<li><b>{title}:</b> {escape_html(text)}</li>" if text else ""
