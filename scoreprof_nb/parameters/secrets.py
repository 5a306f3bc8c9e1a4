"""Keeps secrets out of error messages about parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scoreprof_nb.parameters.schema import ParameterError


@contextmanager
def errors_without_secrets(values: Mapping[str, Any]) -> Iterator[None]:
    """Redact the secrets among the parameters in every ParameterError: it shows a value, and is logged."""
    try:
        yield
    except ParameterError as error:
        from scoreprof_nb.redact import Redactor  # only now: it may be slow to import

        redact = Redactor.for_parameters(values)
        raise ParameterError(error.name, redact.deep(error.value), redact(error.problem)) from None
