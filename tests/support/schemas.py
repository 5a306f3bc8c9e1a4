"""The shipped JSON schemas: assert that an output matches, and write them anew.

``python -m tests.support.schemas`` writes docs/summary.schema.json and docs/comparison.schema.json.
"""

import json
from typing import Any

import jsonschema
from pydantic import BaseModel

from scoreprof_nb.report.comparison_schema import ComparisonSummary
from scoreprof_nb.report.summary_schema import Summary
from tests.support.paths import ROOT

MODELS: dict[str, type[BaseModel]] = {"summary": Summary, "comparison": ComparisonSummary}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_path(name: str):
    return ROOT / "docs" / f"{name}.schema.json"


def generated_schema(name: str) -> dict[str, Any]:
    return {"$schema": DIALECT, **MODELS[name].model_json_schema(by_alias=True, mode="serialization")}


def schema_text(name: str) -> str:
    return json.dumps(generated_schema(name), indent=1, ensure_ascii=False) + "\n"


def assert_matches_schema(output: dict[str, Any], name: str) -> None:
    """Fails unless the output is valid by the shipped schema and every key of it is documented there.

    ``name``: summary or comparison.
    """
    schema = json.loads(schema_path(name).read_text(encoding="utf-8"))
    jsonschema.validate(output, schema, cls=jsonschema.Draft202012Validator)
    model = MODELS[name].model_validate(output)
    assert model.model_dump(mode="json", by_alias=True) == output, "a key is not in the schema"


if __name__ == "__main__":
    for schema_name in MODELS:
        schema_path(schema_name).write_text(schema_text(schema_name), encoding="utf-8")
