"""Imports of Jupyter's packages, without a second of work that no notebook needs.

nbformat imports jsonschema, which imports rfc3987-syntax where that is installed. It builds a grammar of IRIs
as it is imported: 1.2 s of the 1.8 s that papermill's import takes. Only schemas with the format ``iri`` use
it, and the notebook's has none. jsonschema does without where it cannot be imported.
"""

import sys

_GRAMMAR = "rfc3987_syntax"


def leave_out_grammar() -> None:
    """To be called before the first import of nbformat, nbconvert or papermill in this process."""
    sys.modules.setdefault(_GRAMMAR, None)  # type: ignore[arg-type]  # Python's way to say: cannot be imported
