"""The order of imports, so that the straight line from file to mask stays straight."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Modules of one row may be imported by the rows below, and by each other as long as there is no circle.
LAYERS = (
    {"__init__"},
    {"errors", "config", "warned"},
    {"files", "image", "model"},
    {"phantom", "machine", "registration", "denoising", "brain", "anima", "checkpoint", "metrics", "cases", "bids", "dicom"},
    {"preprocessing", "predictor", "detection", "figures", "dicom_seg"},
    {"place", "quality"},
    {"lesions"},
    {"picture", "pipeline", "scoring", "evaluation"},
    {"report", "tables", "record"},
    {"outputs"},
    {"patient"},
    {"cohort"},
    {"cluster"},
    {"cli_options"},
    {"cli_run", "cli_scoring"},
    {"cli"},
    {"__main__"},
)
TORCH = {"model", "checkpoint", "predictor", "brain", "denoising", "pipeline", "machine"}


def _imports(path: Path) -> set[str]:
    """Names of all imported modules, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


MODULES = {path.stem: _imports(path) for path in sorted((REPOSITORY / "app").glob("*.py"))}
INNER = {name: {other for other in MODULES if f"app.{other}" in imports} for name, imports in MODULES.items()}


def test_every_module_has_a_layer() -> None:
    assert set(MODULES) <= set.union(*LAYERS)


def test_no_module_imports_one_from_a_later_layer() -> None:
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    upward = {(name, other) for name, others in INNER.items() for other in others if rank[other] > rank[name]}
    assert upward == set()


def test_no_circle() -> None:
    TopologicalSorter(INNER).prepare()


def test_app_never_imports_training() -> None:
    assert {name for name, imports in MODULES.items() if any(other.split(".")[0] == "training" for other in imports)} == set()


def test_torch_click_and_dicom_stay_where_they_belong() -> None:
    assert {name for name, imports in MODULES.items() if "torch" in imports} <= TORCH
    assert {name for name, imports in MODULES.items() if {"pydicom", "highdicom"} & imports} == {"dicom", "dicom_seg"}
    assert {name for name, imports in MODULES.items() if "click" in imports} <= {"cli", "cli_options", "cli_run", "cli_scoring"}


def test_training_a_network_needs_no_simpleitk() -> None:
    """training/train.py must run on a bare GPU machine: torch, numpy, scipy."""
    reached: set[str] = set()
    waiting = ["training.train"]
    while waiting:
        name = waiting.pop()
        path = REPOSITORY / Path(*name.split(".")).with_suffix(".py")
        if name not in reached and path.is_file():
            reached.add(name)
            waiting += _imports(path)
    outside = {name for module in reached for name in _imports(REPOSITORY / Path(*module.split(".")).with_suffix(".py"))}
    assert "training.train" in reached
    assert "SimpleITK" not in outside
