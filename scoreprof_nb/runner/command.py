"""papermill's command line, read the way papermill reads it: paths, and parameters from five options.

The runner passes the arguments on as they are. It reads them only to check the parameters early, so
whatever it cannot read is left to papermill (``Unreadable``).
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


class Unreadable(Exception):
    """Arguments that only papermill can interpret."""


@dataclass(frozen=True)
class Command:
    """The runner's arguments. ``output`` is absolute."""

    notebook: Path
    output: Path
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Command | None":
        """None unless the arguments begin with the two paths."""
        if len(arguments) < 2 or any(path.startswith("-") for path in arguments[:2]):
            return None
        return cls(Path(arguments[0]), Path(arguments[1]).absolute(), tuple(arguments))

    @property
    def executes_here(self) -> bool:
        """Whether papermill executes the notebook, and in the current folder."""
        return not any(
            argument.partition("=")[0] in ("--prepare-only", "--cwd") for argument in self.arguments
        )

    def parameters(self) -> dict[str, Any]:
        """The parameters that papermill will inject. Raises Unreadable."""
        try:
            options = _PARSER.make_context("papermill", list(self.arguments)).params
        except click.ClickException as error:
            raise Unreadable(error.format_message()) from error
        values: dict[str, Any] = {}
        for option, read in _READERS:
            for given in options[option]:
                values.update(read(given))
        return values


def _option(*names: str, nargs: int = 1) -> click.Option:
    return click.Option(names, nargs=nargs, multiple=True)


_PARSER = click.Command(
    "papermill",
    params=[
        click.Argument(["paths"], nargs=-1, type=click.UNPROCESSED),  # and unknown options
        _option("--parameters", "-p", nargs=2),
        _option("--parameters_raw", "-r", nargs=2),
        _option("--parameters_file", "-f"),
        _option("--parameters_yaml", "-y"),
        _option("--parameters_base64", "-b"),
    ],
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)


def _parsed(pair: tuple[str, str]) -> dict[str, Any]:
    return {pair[0]: resolve_type(pair[1])}


def _raw(pair: tuple[str, str]) -> dict[str, Any]:
    return {pair[0]: pair[1]}


def _file(path: str) -> dict[str, Any]:
    try:
        return _yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:  # papermill also reads from URLs
        raise Unreadable(f"{path}: {error}") from error


def _base64(text: str) -> dict[str, Any]:
    try:
        return _yaml(base64.b64decode(text).decode())
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error


def _yaml(text: str) -> dict[str, Any]:
    import yaml  # only now: most commands need none

    class NoDates(yaml.SafeLoader):
        """papermill leaves dates as text too."""

        yaml_implicit_resolvers = {  # noqa: RUF012
            letter: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        value = yaml.load(text, Loader=NoDates) or {}  # noqa: S506  # nosec B506
    except yaml.YAMLError as error:
        raise Unreadable(str(error)) from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise Unreadable("not a mapping of names to values")
    return value


# Later options win, as in papermill's cli.py.
_READERS: tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...] = (
    ("parameters_base64", _base64),
    ("parameters_file", _file),
    ("parameters_yaml", _yaml),
    ("parameters", _parsed),
    ("parameters_raw", _raw),
)


def resolve_type(text: str) -> Any:
    """The value of ``-p NAME text``, as papermill's ``_resolve_type`` has it."""
    constants = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
