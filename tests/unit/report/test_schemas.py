"""The shipped schemas of summary.json and comparison.json are those of the models."""

import jsonschema
import pytest

from tests.support.schemas import MODELS, generated_schema, schema_path, schema_text


@pytest.mark.parametrize("name", MODELS)
def test_shipped_schema_is_up_to_date(name):
    shipped = schema_path(name).read_text(encoding="utf-8")
    assert shipped == schema_text(name), "run: python -m tests.support.schemas"


@pytest.mark.parametrize("name", MODELS)
def test_schema_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(generated_schema(name))


@pytest.mark.parametrize("name", MODELS)
def test_every_number_and_every_shared_key_has_a_meaning(name):
    """Broken: a number in the schema has no unit."""
    schema = generated_schema(name)
    for part in [schema, *schema["$defs"].values()]:
        assert part.get("description"), part["title"]
        for key, value in part["properties"].items():
            kinds = {value.get("type"), *(option.get("type") for option in value.get("anyOf", []))}
            if "number" in kinds and key not in ("tolerance",):
                assert value.get("description"), f"{part['title']}.{key}"
