"""What the parameters of both notebooks have in common: types, error messages, and a base class.

A parameter is a field of a ``ParameterSet``: its type, default, range and help text stand together.
The types accept what papermill passes: ``-p`` gives parsed numbers and booleans, ``-r`` gives text.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails


class ParameterError(Exception):
    """A parameter that the user must change. The message names it, its value, and the fix.

    It is not a ValueError, which pydantic would turn into a ValidationError.
    """

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(f"parameter {name}={value!r}: {problem}")
        self.name = name
        self.value = value
        self.problem = problem

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback."""
        return [f"ParameterError: {self}"]


class ParameterSet(BaseModel):
    """The parameters of one notebook. Building one raises ParameterError for the first wrong value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Raises ParameterError for an unknown name, a wrong type, or a value that cannot work."""
        return cls.model_validate(dict(values))

    @classmethod
    def names(cls) -> frozenset[str]:
        return frozenset(cls.model_fields)

    @classmethod
    def default_of(cls, name: str) -> Any:
        return cls.model_fields[name].get_default(call_default_factory=True)

    @classmethod
    def help_of(cls, name: str) -> str:
        """The help text that the notebook's parameter cell shows beside the parameter."""
        return cls.model_fields[name].description or ""

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump()

    def with_values(self, **changes: Any) -> Self:
        """A copy with some values replaced, checked like a new one. Raises ParameterError."""
        return self.from_mapping({**self.as_dict(), **changes})

    @model_validator(mode="wrap")
    @classmethod
    def _raise_parameter_errors(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        for name, value in values.items():
            if name not in cls.model_fields:
                raise ParameterError(name, value, f"no such parameter; {_did_you_mean(name, cls)}")
        try:
            return build(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise ParameterError(name, values[name], _problem(first, cls)) from None
        except ParameterError as error:  # show the value as the user wrote it
            raise ParameterError(error.name, values.get(error.name, error.value), error.problem) from None


def _problem(error: ErrorDetails, parameters: type[ParameterSet]) -> str:
    """What is wrong with a value, from pydantic's error about it."""
    name = str(error["loc"][0])
    limits = parameters.model_fields[name].metadata
    low, high = (
        next((getattr(limit, bound) for limit in limits if hasattr(limit, bound)), None)
        for bound in ("ge", "le")
    )
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        return f"must be from {low} to {high}"
    return str(error["ctx"]["error"]) if "ctx" in error and "error" in error["ctx"] else error["msg"]


def _did_you_mean(name: str, parameters: type[ParameterSet]) -> str:
    close = difflib.get_close_matches(name, parameters.model_fields, n=1)
    return (
        f"did you mean {close[0]}?" if close else f"the parameters are {', '.join(parameters.model_fields)}"
    )


def _wrong_type(expected: str, value: object) -> ValueError:
    return ValueError(f"must be {expected}, not {type(value).__name__}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if _is_number(value):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        raise ValueError("must be a string: put quotes around it in YAML, which reads off and no as False")
    raise _wrong_type("a string", value)


def _whole_number(value: Any) -> int:
    if _is_number(value) and (isinstance(value, int) or value.is_integer()):
        return int(value)
    raise _wrong_type("a whole number", value)


def _number(value: Any) -> float:
    if _is_number(value) and not (isinstance(value, float) and math.isnan(value)):
        try:
            return float(value)
        except OverflowError:  # beyond every limit
            return math.inf if value > 0 else -math.inf
    raise _wrong_type("a number", value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_type("True or False", value)


def _token_ids(value: Any) -> list[int]:
    """papermill's ``-p`` and ``-r`` know no lists: a comma-separated text is one too."""
    if isinstance(value, str):
        value = [part for part in value.replace("[", "").replace("]", "").split(",") if part.strip()]
    elif _is_number(value):
        value = [value]
    try:
        token_ids = [_token_id(part) for part in value] if isinstance(value, list | tuple) else None
    except ValueError:
        token_ids = None
    if token_ids is None:
        raise ValueError("must be a list of whole numbers, such as 294,293")
    for token_id in token_ids:
        if token_id < 0:
            raise ValueError(f"{token_id} is negative")
    return token_ids


def _token_id(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]+\s*", value):
        return int(value)
    return _whole_number(value)


def one_of(*choices: str) -> AfterValidator:
    """Accepts these texts only."""

    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Label = Annotated[Text, AfterValidator(_not_blank)]
Whole = Annotated[int, BeforeValidator(_whole_number)]
Number = Annotated[float, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]
TokenIds = Annotated[list[int], BeforeValidator(_token_ids)]
