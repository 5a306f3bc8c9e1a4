"""Checks a notebook's parameters before papermill is started, whose imports alone take seconds."""

import ast
import json
from pathlib import Path
from typing import Any

from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.parameters.secrets import errors_without_secrets
from scoreprof_nb.runner.command import Command, Unreadable

type NotebookParameters = type[Parameters] | type[CompareParameters]

# By the parameter that only this notebook has.
_PARAMETERS_BY_FOLDER: dict[str, NotebookParameters] = {
    "run_dir": Parameters,
    "compare_dir": CompareParameters,
}


def check_parameters(command: Command) -> None:
    """Raise ParameterError for a wrong parameter, or a file named by one that cannot be used.

    A notebook that is not the kit's, and arguments that only papermill understands, pass: papermill
    and the notebook check them again.
    """
    cell = _parameter_cell(command.notebook)
    parameters = next((known for name, known in _PARAMETERS_BY_FOLDER.items() if name in cell), None)
    if parameters is None or not set(cell) <= parameters.names() or not command.executes_here:
        return
    try:
        values = {**cell, **command.parameters()}
    except Unreadable:
        return
    with errors_without_secrets(values):
        _check(parameters, values)


def _check(kind: NotebookParameters, values: dict[str, Any]) -> None:
    parameters = kind.from_mapping(values)
    try:
        parameters.check_files()
        if parameters.rules_file:
            _check_rules(parameters.rules_file)
    except OSError:  # a mounted bucket that is not ready yet: the notebook will see
        return


def _check_rules(rules_file: str) -> None:
    from scoreprof_nb.components.rules import RulesError, load_rules  # only now: numpy is slow to import

    try:
        load_rules(rules_file)
    except RulesError as error:
        raise ParameterError("rules_file", rules_file, str(error)) from error


def _parameter_cell(notebook: Path) -> dict[str, Any]:
    """The parameters with their defaults, from the cell that papermill knows by its tag.

    Empty if there is no such cell, or it holds more than assignments of constants.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        (cell,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
        return _assignments("".join(cell["source"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError):
        return {}


def _assignments(source: str) -> dict[str, Any]:
    """Raises ValueError for anything but assignments of constants to names."""
    values = {}
    for statement in ast.parse(source).body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ):
                values[name] = ast.literal_eval(value)
            case _:
                raise ValueError(f"line {statement.lineno}: not an assignment to a name")
    return values
