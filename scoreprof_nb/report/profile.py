"""A run as its report shows it."""

from dataclasses import dataclass
from pathlib import Path

from scoreprof_nb.analysis.run_analysis import RunAnalysis, analyse
from scoreprof_nb.components.rules import RulesError, RuleSet, load_rules
from scoreprof_nb.parameters.profile import MeasurementParameters, Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.findings import Finding, findings
from scoreprof_nb.run_folder.store import load_run


@dataclass(frozen=True)
class Report:
    """The analysis of a run with its findings; ``profile_tables``, ``profile_verdict`` and
    ``profile_files`` show it."""

    parameters: Parameters
    rules: RuleSet
    analysis: RunAnalysis
    findings: tuple[Finding, ...]

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
