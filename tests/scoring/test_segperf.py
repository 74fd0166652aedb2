import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click.testing
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from app.cli.main import main
from app.scoring import metrics, segperf

SEGPERF = Path(__file__).parents[1] / "data" / "segperf"
EXPECTED = json.loads(
    (SEGPERF / "expected.json").read_text()
)  # what animaSegPerfAnalyzer and animaDetectedComponents printed
REFUSED = {
    "h47_full_ref": "no voxel is 0",
    "h48_full_test": "no voxel is 0",
    "h49_float_mask": "values with fractions",
}  # unless --strict-anima


@pytest.fixture(autouse=True)
def _keep_log_handlers() -> Iterator[None]:
    """The command line sets up logging to a terminal that is gone after the test."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers


def _run(*arguments: object) -> click.testing.Result:
    result = click.testing.CliRunner().invoke(main, [str(argument) for argument in ("score", *arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _segperf(name: str) -> tuple[object, ...]:
    return "-i", SEGPERF / f"{name}_test.nii.gz", "-r", SEGPERF / f"{name}_ref.nii.gz"


def _text_file(measures: dict[str, str]) -> bytes:
    """docs/method.md, 6: 15 fields, each ended by a semicolon and a tab, blank where not computed, CRLF."""
    return "".join(f"{measures.get(name, '')};\t" for name in segperf.MEASURES).encode() + b"\r\n"


@pytest.mark.parametrize("name", EXPECTED)
def test_prints_what_the_tool_prints(name: str, tmp_path: Path) -> None:
    case = EXPECTED[name]
    result = _run(
        *_segperf(name), "-o", tmp_path / "BASE", "-s", "-d", "-l", *case["options"], "--strict-anima"
    )
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {f"BASE_{part}.txt": _text_file(measures) for part, measures in case["printed"].items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_without_strictness_only_the_surface_distance_differs(name: str, tmp_path: Path) -> None:
    result = _run(*_segperf(name), "-o", tmp_path / "BASE", "-sdl", *EXPECTED[name]["options"])
    if name in REFUSED:
        assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
        assert REFUSED[name] in result.stderr
        return
    assert result.exit_code == 0, result.output
    measures = dict(
        zip(segperf.MEASURES, (tmp_path / "BASE_global.txt").read_text().split(";\t"), strict=False)
    )
    printed = EXPECTED[name]["printed"]["global"]
    assert {key: value for key, value in measures.items() if value and key != "SurfaceDistance"} == {
        key: value for key, value in printed.items() if key != "SurfaceDistance"
    }
    if "nan" not in printed.get("SurfaceDistance", "nan"):
        assert float(measures["SurfaceDistance"]) >= float(
            printed["SurfaceDistance"]
        )  # a running minimum is never larger


@pytest.mark.parametrize(("structure", "answers"), [(1, "detected6"), (3, "detected26")])
def test_detection_agrees_with_the_tools_component_lister(structure: int, answers: str) -> None:
    """animaDetectedComponents has the same rule of detection, but keeps lesions of exactly the minimum
    volume, 3 mm^3: ceil(3 / voxel) voxels."""
    compared = 0
    for name, case in EXPECTED.items():
        if answers not in case:
            continue
        test, reference = (
            sitk.ReadImage(str(SEGPERF / f"{name}_{which}.nii.gz"), sitk.sitkUInt16)
            for which in ("test", "ref")
        )
        voxel = metrics.voxel_mm3(reference.GetSpacing()[::-1])
        minimum = int(np.ceil(3 / voxel))
        labels = []
        for picture in (reference, test):
            components, count = ndimage.label(
                sitk.GetArrayViewFromImage(picture) > 0, ndimage.generate_binary_structure(3, structure)
            )
            sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
            kept = [number + 1 for number in np.argsort(-sizes, kind="stable") if sizes[number] >= minimum]
            rank = np.zeros(count + 1, np.int64)
            rank[kept] = np.arange(1, len(kept) + 1)
            labels.append(rank[components])
        volumes = np.bincount(labels[0].ravel())[1:] * voxel
        found = metrics.detected(metrics.overlap_table(*labels))
        objects = case[answers]["objects"]
        assert volumes == pytest.approx([entry["volume"] for entry in objects]), name
        assert found.tolist() == [bool(entry["detected"]) for entry in objects], name
        compared += 1
    assert compared == sum(answers in case for case in EXPECTED.values())


def test_xml_byte_for_byte(tmp_path: Path) -> None:
    """The bar of h34: 5^3 voxels shifted by two, 75 of 125 shared: J = 75/175."""
    assert _run(*_segperf("h34_shift_x2"), "-o", tmp_path / "deep" / "er" / "BASE", "-l", "-X").exit_code == 0
    assert (tmp_path / "deep" / "er" / "BASE_global.xml").read_bytes() == (
        b'<?xml version="1.0" encoding="UTF-8"?>\r\n'
        b'<image name="BASE_global">\r\n'
        b'\t<measure name="PPVL">1.000000</measure>\r\n'
        b'\t<measure name="SensL">1.000000</measure>\r\n'
        b'\t<measure name="F1_score">1.000000</measure>\r\n'
        b"</image>\r\n"
    )


@pytest.mark.parametrize("name", ["a<&\"'>b", "Müller", "田中\u3000太郎", "a\nb"])
def test_xml_holds_any_name(name: str, tmp_path: Path) -> None:
    assert _run(*_segperf("h34_shift_x2"), "-o", tmp_path / name, "-X").exit_code == 0
    root = ElementTree.parse(tmp_path / f"{name}_global.xml").getroot()
    assert root.get("name") == f"{name}_global"


@pytest.mark.parametrize("name", ["a\x01b", "a\udcffb"])
def test_a_name_that_xml_cannot_hold_is_refused(name: str, tmp_path: Path) -> None:
    """The text goes without it; no file of the two is left."""
    refused = _run(*_segperf("h34_shift_x2"), "-o", tmp_path / name, "-X", "-T")
    assert (refused.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "a name that XML cannot hold" in refused.stderr
    assert _run(*_segperf("h34_shift_x2"), "-o", tmp_path / name, "-T").exit_code == 0


def test_screen_has_columns_of_20(tmp_path: Path) -> None:
    result = _run(*_segperf("h03_empty_ref"), "-o", tmp_path / "BASE", "-S")
    names, values, rest = result.stdout.split("\n")
    assert names == "".join(name.ljust(20) for name in segperf.MEASURES)
    assert values == " " * 260 + "2.000000".ljust(20) + "31.000000".ljust(20)
    assert (rest, list(tmp_path.iterdir())) == ("", [])


VOXELS, DISTANCES, LESIONS = (
    set(segperf.MEASURES[:7]),
    set(segperf.MEASURES[7:10]),
    set(segperf.MEASURES[10:13]),
)


@pytest.mark.parametrize(
    ("flags", "computed"),
    [
        ([], VOXELS),
        (["-s"], VOXELS),
        (["-d"], DISTANCES),
        (["-l"], LESIONS),
        (["-a"], VOXELS),
        (["-al"], VOXELS | LESIONS),
        (["-ad"], DISTANCES),
        (["--SegmentationEvaluationMetrics", "--LesionDetectionMetrics"], VOXELS | LESIONS),
    ],
)
def test_groups(flags: list[str], computed: set[str], tmp_path: Path) -> None:
    assert _run(*_segperf("h45_multi_both"), "-o", tmp_path / "BASE", *flags).exit_code == 0
    fields = (tmp_path / "BASE_global.txt").read_text().split(";\t")
    assert {name for name, field in zip(segperf.MEASURES, fields, strict=False) if field} == computed
    clusters = any(flag.startswith("-a") for flag in flags)
    assert len(list(tmp_path.iterdir())) == (3 if clusters else 1)  # two labels


def test_formats_and_threads_are_taken_together(tmp_path: Path) -> None:
    result = _run(*_segperf("h01_identical"), "-o", tmp_path / "BASE", "-T", "-X", "-S", "-t", "4")
    assert result.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"BASE_global.txt", "BASE_global.xml"}
    assert result.stdout.startswith("Jaccard")


def test_about_explains_every_measure() -> None:
    result = _run("-A")
    assert result.exit_code == 0
    assert [paragraph.split(":")[0] for paragraph in result.stdout.strip().split("\n\n")] == list(
        segperf.MEASURES
    )
    assert result.stdout.count(" is best") + result.stdout.count(" better") == len(segperf.MEASURES)


def test_different_numbers_of_labels_are_said(tmp_path: Path) -> None:
    result = _run(*_segperf("h43_multi_test"), "-o", tmp_path / "BASE")
    assert "has 2 labels" in result.stderr
    assert "both are scored as masks" in result.stderr


def _write(
    path: Path,
    values: np.ndarray,
    spacing: float = 1.0,
    origin: float = 0.0,
    direction: tuple[float, ...] | None = None,
) -> Path:
    picture = sitk.GetImageFromArray(values)
    picture.SetSpacing((1.0, 1.0, spacing))
    picture.SetOrigin((origin, 0.0, 0.0))
    if direction:
        picture.SetDirection(direction)
    sitk.WriteImage(picture, str(path), useCompression=True)
    return path


MASK = np.zeros((6, 7, 8), np.uint8)
MASK[2:4, 2:5, 2:5] = 1
NOISE = np.random.default_rng(0).integers(0, 2, (20, 30, 40), np.uint8)
TURNED = sitk.Euler3DTransform((0, 0, 0), 0.0, 0.0, 0.01).GetMatrix()


def _bad_prediction(kind: str, path: Path) -> Path:
    match kind:
        case "missing":
            pass
        case "size":
            _write(path, MASK[:, :, 1:])
        case "spacing":
            _write(path, MASK, spacing=1.5)
        case "origin":
            _write(path, MASK, origin=2.0)
        case "direction":
            _write(path, MASK, direction=TURNED)
        case "no zeros":
            _write(path, MASK + 1)
        case "probability":
            _write(path, MASK * np.float32(0.6))
        case "negative":
            _write(path, MASK.astype(np.int16) - 1)
        case "nan":
            _write(path, np.where(MASK > 0, np.nan, 0).astype(np.float32))
        case "truncated":
            path.write_bytes(_write(path, NOISE).read_bytes()[:-300])
        case "truncated inside":
            path.write_bytes(gzip.compress(gzip.decompress(_write(path, NOISE).read_bytes())[:-300]))
        case "text":
            path.write_text("not an image")
        case "empty file":
            path.write_bytes(b"")
        case "four dimensions":
            sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(MASK)] * 2), str(path))
    return path


BAD_PREDICTIONS = {
    "missing": "no such file",
    "size": "7x7x6 voxels of 1x1x1 mm; wanted the grid of",
    "spacing": "spacing (1.0, 1.0, 1.5) instead of (1.0, 1.0, 1.0)",
    "origin": "origin (2.0, 0.0, 0.0) instead of (0.0, 0.0, 0.0)",
    "direction": "direction",
    "no zeros": "no voxel is 0, the smallest is 1; wanted a mask with background",
    "probability": "values with fractions, as in a probability map",
    "negative": "values from -1 to 0; wanted labels from 0 to 65535",
    "nan": "18 voxels are NaN or infinite; wanted labels",  # 2 x 3 x 3
    "truncated": "truncated",
    "truncated inside": "truncated",
    "text": "truncated or damaged",
    "empty file": "truncated or damaged",
    "four dimensions": "wanted one 3-D scan",
}
LET_THROUGH_BY_THE_TOOL = {"spacing", "origin", "no zeros", "probability"}


@pytest.mark.parametrize("kind", BAD_PREDICTIONS)
@pytest.mark.parametrize("strict", [False, True])
def test_unusable_pairs_are_refused_in_one_line(kind: str, strict: bool, tmp_path: Path) -> None:
    bad, reference, output = (
        _bad_prediction(kind, tmp_path / "bad.nii.gz"),
        _write(tmp_path / "ref.nii.gz", MASK),
        tmp_path / "out" / "BASE",
    )
    result = _run("-i", bad, "-r", reference, "-o", output, *(["--strict-anima"] if strict else []))
    if strict and kind in LET_THROUGH_BY_THE_TOOL:
        assert result.exit_code == 0
        return
    assert result.exit_code == 1
    assert not output.parent.exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: {bad}: ")
    assert BAD_PREDICTIONS[kind] in line


@pytest.mark.parametrize(
    "option", [("-x", "0"), ("-y", "1.1"), ("-z", "-1"), ("-v", "-1"), ("-t", "many"), ("-Q",)]
)
def test_impossible_options_are_refused(option: tuple[str, ...], tmp_path: Path) -> None:
    result = _run(*_segperf("h01_identical"), "-o", tmp_path / "BASE", *option)
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])


def test_a_base_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = _run(*_segperf("h01_identical"), "-o", tmp_path / "file" / "BASE")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_renamed_values_score_the_same(tmp_path: Path) -> None:
    """The k-th smallest value is label k, whatever it is: 0, 3, 7 and 0, 40, 255 are 0, 1, 2."""
    labels = np.zeros((6, 9, 9), np.uint8)
    labels[1:5, 1:4, 1:5], labels[1:5, 5:8, 3:7] = 3, 7
    other = np.array([0, 0, 0, 40, 0, 0, 0, 255], np.uint8)[labels]
    images = segperf.read_images(_write(tmp_path / "a.nii.gz", labels), _write(tmp_path / "b.nii.gz", other))
    assert np.unique(images.prediction).tolist() == [0, 1, 2]
    assert segperf.measure(images, segperf.Groups(True, True, True, True))["cluster2"]["Dice"] == 1


def test_clusters_have_their_own_distances_unless_strict(tmp_path: Path) -> None:
    """Label 1 agrees, label 2 is off by one voxel in a line of single voxels: 0 mm and 1 mm. The tool prints
    0, label 1's, for both."""
    reference, prediction = np.zeros((2, 3, 4, 12), np.uint8)
    reference[1, 1, [1, 9]] = prediction[1, 1, [1, 10]] = 1, 2
    images = segperf.read_images(
        _write(tmp_path / "p.nii.gz", prediction), _write(tmp_path / "r.nii.gz", reference)
    )
    groups = segperf.Groups(voxels=False, distances=True, clusters=True)
    for strict, expected in ((False, [0.5, 0, 1]), (True, [0.5, 0, 0])):
        results = segperf.measure(images, groups, strict_anima=strict)
        assert [results[part]["SurfaceDistance"] for part in ("global", "cluster1", "cluster2")] == expected
