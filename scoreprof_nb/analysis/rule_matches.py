"""Stacks that no rule matches, and rules that match no stack."""

from collections import Counter

import numpy as np
import pandas as pd

from scoreprof_nb.analysis.run_analysis import RunAnalysis
from scoreprof_nb.components.catalog import UNCLASSIFIED
from scoreprof_nb.components.classify import deciding_rules
from scoreprof_nb.components.rules import Rule, RuleSet, rule_text


def unclassified_table(analysis: RunAnalysis, rules: RuleSet, limit: int = 10) -> pd.DataFrame:
    """The most frequent unclassified stacks within the blocks, each with a rule for a rules file.

    Columns: phase, process, thread, samples, share (of the thread's samples in the phase), stack
    (innermost frame first, eight frames), rule (empty for a stack without frames).
    """
    keys = ["phase", "process", "thread"]
    rows, all_samples = [], Counter[tuple[str, str, str]]()
    for phase in analysis.phases:
        for block in phase.ticks.blocks:
            unclassified = block.catalog.index[UNCLASSIFIED]
            for thread in block.threads:
                role, known = thread.role, thread.stack_ids >= 0
                all_samples[phase.name, role.process, role.thread] += int(known.sum())
                stacks = thread.stack_ids[known & (thread.components == unclassified)]
                for stack_id, samples in zip(*np.unique(stacks, return_counts=True), strict=True):
                    frames = block.table.stack(int(stack_id))[-8:]
                    lines = [f"{frame.name} ({frame.file}:{frame.line})" for frame in reversed(frames)]
                    rule = rule_text(rules, role.process, role.thread, frames[-1]) if frames else ""
                    text = " < ".join(lines) or "(no Python frame)"
                    rows.append((phase.name, role.process, role.thread, text, rule, int(samples)))
    table = pd.DataFrame(rows, columns=[*keys, "stack", "rule", "samples"])
    summed = table.groupby([*keys, "stack", "rule"])[["samples"]].sum().reset_index()
    top = summed.sort_values("samples", ascending=False, ignore_index=True).head(limit)
    of_thread = [all_samples[key] for key in top[keys].itertuples(index=False, name=None)]
    top["share"] = top["samples"] / of_thread
    return top[[*keys, "samples", "share", "stack", "rule"]]


def unmatched_rules(analysis: RunAnalysis, rules: RuleSet) -> list[str]:
    """The rules of the user's file that decided no stack of the run: file and number of each."""
    if not rules.user_rules:
        return []
    used = set[Rule]()
    for phase in analysis.phases:
        for block in phase.ticks.blocks:
            used |= deciding_rules(block.table, rules)
    return [rule.where for rule in rules.user_rules if rule not in used]
