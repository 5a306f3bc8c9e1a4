"""The title of a comparison, and one or two sentences per section that say what it shows. Leads are
Markdown."""

from scoreprof_nb.comparison import claims
from scoreprof_nb.comparison.compare import Comparison
from scoreprof_nb.comparison.history import History
from scoreprof_nb.comparison.metrics import HEADLINE
from scoreprof_nb.comparison.verdict import BLOCKED
from scoreprof_nb.parameters.compare import CONTROL, TEST
from scoreprof_nb.report.comparison import ComparisonReport
from scoreprof_nb.report.comparison_cause import cause_text
from scoreprof_nb.report.comparison_verdict import row_name
from scoreprof_nb.report.format import escape_markdown, number, percent, percent_change, share, signed

_WORDS = {
    claims.REGRESSION: "worse",
    claims.IMPROVEMENT: "faster",
    claims.NO_CHANGE: "no meaningful change",
    BLOCKED: "look at its answers first",
}


def title(report: ComparisonReport) -> str:
    """Plain text: the sides and the verdict, such as ``fixes against main: faster``."""
    labels = [runs[0].run.manifest.label for runs in report.comparison.sides.values()]
    return f"{report.mark}{labels[1]} against {labels[0]}: {verdict_word(report.comparison)}"


def verdict_word(comparison: Comparison) -> str:
    """The verdict on the whole as an adjective; as the tables write it where there is none."""
    verdict = comparison.verdict
    headlines = comparison.metrics[comparison.metrics["role"] == HEADLINE]
    if verdict.endswith(claims.REGRESSION) and headlines["verdict"].str.endswith(claims.REGRESSION).any():
        return verdict.replace(claims.REGRESSION, "slower")
    for word, shown in _WORDS.items():
        if verdict.endswith(word):
            return verdict.replace(word, shown)
    return verdict


def verdict_lead(report: ComparisonReport) -> str:
    """The verdict on each phase, with the change of its headline."""
    comparison = report.comparison
    texts = []
    for row in comparison.phase_verdicts.to_dict("records"):
        of_phase = comparison.metrics[comparison.metrics["phase"] == row["phase"]]
        headlines = of_phase[of_phase["role"] == HEADLINE].to_dict("records")
        changes = ", ".join(f"{one['metric']} {percent_change(one['ratio'])}" for one in headlines)
        texts.append(f"{row['phase']}: {row['verdict']}{f' ({changes})' if changes else ''}")
    return escape_markdown(
        f"{'; '.join(texts)}. A change matters from {percent(report.parameters.delta, 0)} on, and counts as "
        "shown only if the whole interval lies beyond that."
    )


def correctness_lead(comparison: Comparison) -> str:
    guards = comparison.guards
    blocking = guards[guards["blocks"]]
    if blocking.empty:
        return (
            f"Yes, as far as {len(guards)} guards can tell: nothing keeps test from being called an "
            "improvement."
        )
    reasons = "; ".join(
        f"{row['guard']} in {row['phase'] if isinstance(row['phase'], str) else 'all phases'}: "
        f"{row['reason']}"
        for row in blocking.to_dict("records")
    )
    return escape_markdown(
        f"No, or not shown: {len(blocking)} of {len(guards)} guards block, and nothing is called an "
        f"improvement. {reasons}."
    )


def cause_lead(comparison: Comparison) -> str:
    cause = cause_text(comparison)
    if cause:
        return escape_markdown(f"{cause}.")
    known = comparison.components[comparison.components["change_ms"].notna()]
    if known.empty:
        return "The request path of both sides is not known in any pair, so neither is the cause."
    first = known.iloc[int(known["change_ms"].abs().to_numpy().argmax())]
    return escape_markdown(
        f"The latency was not shown to change. The largest change of a component is {first['component']} "
        f"{signed(first['change_ms'])} ms per request of {first['phase']} ({first['verdict']})."
    )


def functions_lead(comparison: Comparison) -> str:
    functions = comparison.functions
    if functions.empty:
        return "No function is known on either side."
    first = functions.iloc[int(functions["self_change_ms"].abs().to_numpy().argmax())]
    return escape_markdown(
        f"The largest change of self time is in {first['function']} ({first['file']}): "
        f"{signed(first['self_change_ms'])} ms per request of {first['phase']}, from "
        f"{number(first['self_control_ms'])} to {number(first['self_test_ms'])} ms."
    )


def noise_lead(comparison: Comparison) -> str:
    """The noise between launches, and what an A/A comparison says of a bias."""
    texts = [
        f"{row_name(first)} {share(first['launch_noise'], first['low'], first['high'])}"
        for _, of in comparison.launches.plan.groupby(["phase", "metric"], sort=False)
        for first in of.head(1).to_dict("records")
    ]
    noise = f"Launches of one side differ by (standard deviation): {'; '.join(texts)}. " if texts else ""
    minutes = f"A pair takes {number(comparison.minutes_per_pair)} minutes."
    return f"{escape_markdown(noise + minutes)} {bias_markdown(comparison)}"


def bias_markdown(comparison: Comparison) -> str:
    """Markdown: what an A/A comparison says about a bias; how to make one otherwise."""
    if not comparison.is_aa:
        return "`make noise` compares a server with itself, and shows a bias if there is one."
    biased = [
        f"{row_name(row)} {percent_change(row['ratio'])}"
        for row in comparison.metrics.to_dict("records")
        if row["role"] == HEADLINE and not row["low"] <= 1 <= row["high"]
    ]
    if biased:
        return f"**Bias: sides that are the same differ in {escape_markdown(', '.join(biased))}.**"
    return "No bias was seen: every 95 % interval of a headline includes 1."


def history_lead(history: History) -> str:
    """How many runs there are, and the summaries that could not be read."""
    runs = history.runs["run_id"].nunique()
    lines = [f"{runs:,} runs in the folder, from their summaries; `history.csv` beside this report has all."]
    lines += [f"\n- could not be read: {escape_markdown(text)}" for text in history.unreadable]
    return "\n".join(lines)


def sides_text(report: ComparisonReport) -> str:
    """Plain text: what is compared."""
    comparison = report.comparison
    names = report.names
    return (
        f"{names[TEST]} against {names[CONTROL]}: {comparison.pairs} "
        f"pair{'' if comparison.pairs == 1 else 's'} of launches, phases {', '.join(comparison.phases)}"
    )
