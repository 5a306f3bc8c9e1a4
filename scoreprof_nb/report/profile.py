"""A run as its report shows it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scoreprof_nb.analysis.run_analysis import RunAnalysis, analyse
from scoreprof_nb.components.rules import RulesError, RuleSet, load_rules
from scoreprof_nb.parameters.profile import MeasurementParameters, Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.component_findings import ComponentFinding, component_findings
from scoreprof_nb.report.findings import Finding, findings
from scoreprof_nb.run_folder.store import load_run


@dataclass(frozen=True, repr=False)
class Report:
    """The analysis of a run with its findings; ``profile_tables``, ``profile_verdict`` and
    ``profile_files`` show it."""

    parameters: Parameters
    rules: RuleSet
    analysis: RunAnalysis
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"Report({str(self.folder)!r})"

    @cached_property
    def component_findings(self) -> tuple[ComponentFinding, ...]:
        """The findings by component, as the report shows them."""
        return tuple(component_findings(self.analysis, self.findings))

    @property
    def folder(self) -> Path:
        return self.analysis.run.folder

    @property
    def has_path(self) -> bool:
        """Whether any phase has a request path."""
        return not self.analysis.paths().empty


def make_report(parameters: Parameters) -> Report:
    """Load and analyse the run folder. Raises RunFolderError, and ParameterError for the rules file."""
    rules = rules_of(parameters)
    analysis = analyse(load_run(Path(parameters.run_dir)), rules)
    return Report(parameters, rules, analysis, tuple(findings(analysis)))


def rules_of(parameters: MeasurementParameters) -> RuleSet:
    """The component rules. Raises ParameterError when the user's file cannot be used."""
    try:
        return load_rules(parameters.rules_file)
    except RulesError as error:
        raise ParameterError("rules_file", parameters.rules_file, str(error)) from error
