"""lesions.csv and lesions.json: the same lesions, in a form that stays."""

import csv
import io
import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from app.method.findings import Findings
from app.method.lesions import Lesion
from app.method.place import Place
from app.results import tables
from tests.conftest import REPOSITORY

LARGE = Lesion(
    1,
    64,
    64.0,
    4.9628,
    (-15.5, -13.5, 11.5),
    0.80004,
    0.95,
    Place("left", "periventricular"),
    "new",
    0.0,
    64.0,
    (-0.25, 2.5),
    (11, 12),
)
SMALL = Lesion(
    2,
    8,
    8.0,
    2.4814,
    (1.25, 0.0, -40.0),
    0.7,
    0.7,
    Place("midline", "infratentorial"),
    "possible",
    why="the baseline shows it, too",
)
NOTHING = np.zeros((1, 1, 1), dtype=np.uint8)
FOUND = Findings(
    [LARGE],
    [],
    [SMALL],
    NOTHING,
    NOTHING,
    None,
    looked_for_vanished=True,
    at=(NOTHING > 0, NOTHING > 0),
    surface_mm=0.6,
)
NONE = Findings(
    [],
    [],
    [],
    NOTHING,
    NOTHING,
    (1.5, 2.0),
    looked_for_vanished=True,
    at=(NOTHING > 0, NOTHING > 0),
    surface_mm=0.6,
)


@pytest.fixture
def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (REPOSITORY / "app" / "results" / "schemas" / "lesions.schema.json").read_text(encoding="utf-8")
    )
    jsonschema.Draft202012Validator.check_schema(content)
    return content


def test_a_row_a_lesion() -> None:
    first, second = csv.DictReader(io.StringIO(tables.as_csv(FOUND)))
    assert tuple(first) == tables.LESION_FIELDS
    assert first == {
        "number": "1",
        "kind": "new",
        "why": "",
        "voxels": "64",
        "volume_mm3": "64.000",
        "baseline_mm3": "0.000",
        "followup_mm3": "64.000",
        "diameter_mm": "4.963",
        "right_mm": "-15.500",
        "anterior_mm": "-13.500",
        "superior_mm": "11.500",
        "side": "left",
        "region": "periventricular",
        "baseline_z": "-0.250",
        "followup_z": "2.500",
        "baseline_slice": "11",
        "followup_slice": "12",
        "mean_probability": "0.800",
        "peak_probability": "0.950",
    }
    assert (second["kind"], second["why"]) == ("possible", "the baseline shows it, too")
    assert (second["baseline_mm3"], second["followup_z"], second["followup_slice"]) == ("", "", "")


def test_the_json_says_the_same_and_follows_its_schema(schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json(FOUND))
    jsonschema.validate(content, schema)
    assert (content["new_lesions"], content["volume_mm3"], content["load_mm3"]) == (1, 64.0, None)
    assert content["lesions"][0]["centre_ras_mm"] == [-15.5, -13.5, 11.5]
    assert set(schema["$defs"]["lesion"]["properties"]) == set(
        content["lesions"][0]
    )  # the schema describes every field


def test_no_lesion_is_an_empty_list_and_a_header(schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json(NONE))
    jsonschema.validate(content, schema)
    assert (content["new_lesions"], content["lesions"]) == (0, [])
    assert content["load_mm3"] == {"baseline": 1.5, "followup": 2.0}
    assert tables.as_csv(NONE) == ",".join(tables.LESION_FIELDS) + "\r\n"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", "port"),
        ("kind", "old"),
        ("baseline_mm3", -1),
        ("followup_slice", 0),
        ("mean_probability", 1.5),
        ("voxels", 0),
        ("centre_ras_mm", [1, 2]),
    ],
)
def test_the_schema_refuses_what_is_no_lesion(field: str, value: object, schema: dict[str, Any]) -> None:
    content = json.loads(tables.as_json(FOUND))
    content["lesions"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
