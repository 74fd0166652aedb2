"""lesions.csv and lesions.json: the same lesions, in a form that stays."""

import csv
import io
import json
from typing import Any

import jsonschema
import pytest

from app.method.lesions import Lesion
from app.method.place import Place
from app.results import tables
from tests.conftest import REPOSITORY

LARGE = Lesion(1, 64, 64.0, 4.9628, (-15.5, -13.5, 11.5), 0.80004, 0.95, Place("left", "periventricular"))
SMALL = Lesion(2, 8, 8.0, 2.4814, (1.25, 0.0, -40.0), 0.7, 0.7, Place("midline", "infratentorial"))


@pytest.fixture
def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (REPOSITORY / "app" / "results" / "schemas" / "lesions.schema.json").read_text(encoding="utf-8")
    )
    jsonschema.Draft202012Validator.check_schema(content)
    return content


def test_a_row_a_lesion() -> None:
    first, second = csv.DictReader(io.StringIO(tables.as_csv([LARGE, SMALL])))
    assert tuple(first) == tables.LESION_FIELDS
    assert list(first.values()) == [
        "1",
        "64",
        "64.000",
        "4.963",
        "-15.500",
        "-13.500",
        "11.500",
        "left",
        "periventricular",
        "0.800",
        "0.950",
    ]
    assert (second["side"], second["region"]) == ("midline", "infratentorial")


def test_the_json_says_the_same_and_follows_its_schema(schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json([LARGE, SMALL]))
    jsonschema.validate(content, schema)
    assert (content["new_lesions"], content["volume_mm3"]) == (2, 72.0)
    assert content["lesions"][0]["centre_ras_mm"] == [-15.5, -13.5, 11.5]
    assert set(schema["$defs"]["lesion"]["properties"]) == set(
        content["lesions"][0]
    )  # the schema describes every field


def test_no_lesion_is_an_empty_list_and_a_header(schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json([]))
    jsonschema.validate(content, schema)
    assert (content["new_lesions"], content["lesions"]) == (0, [])
    assert tables.as_csv([]) == ",".join(tables.LESION_FIELDS) + "\r\n"


@pytest.mark.parametrize(
    ("field", "value"),
    [("side", "port"), ("mean_probability", 1.5), ("voxels", 0), ("centre_ras_mm", [1, 2])],
)
def test_the_schema_refuses_what_is_no_lesion(field: str, value: object, schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json([LARGE]))
    content["lesions"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
