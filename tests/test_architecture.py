"""The order of imports, so that the straight line from file to mask stays straight."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Packages and top-level modules of one row may be imported by the rows below, never by those above.
APP_ORDER = (
    {"app"},
    {"errors", "config", "arrays", "intensity"},
    {"files", "folders", "machine"},
    {"images"},
    {"phantom", "method", "scoring"},
    {"assessment"},
    {"pipeline"},
    {"results"},
    {"patients"},
    {"cli"},
    {"__main__"},
)
NEITHER_KNOWS = ("method", "scoring")  # and phantom, which has its own lesions to be found
REGISTRATION = ("registration", "search", "similarity", "residual", "orientation")
TORCH = {"method", "machine", "pipeline"}


def _modules(top: str) -> dict[str, Path]:
    """{dotted name: file} of every module below a top-level folder; a package goes by its own name."""
    found = {}
    for path in sorted((REPOSITORY / top).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(module: str, path: Path) -> set[str]:
    """Dotted names of all that a module imports, inside functions too; relative ones are resolved."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


APP = {name: _imports(name, path) for name, path in _modules("app").items()}
TRAINING = {name: _imports(name, path) for name, path in _modules("training").items()}
BENCHMARKS = {name: _imports(name, path) for name, path in _modules("benchmarks").items()}


def _place(module: str) -> str:
    """The part of app that a dotted name belongs to: 'app.method.brain' -> 'method'."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _inner(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """{module: those of the same folder that it imports}."""
    return {name: (imports & modules.keys()) - {name} for name, imports in modules.items()}


def test_every_part_of_app_has_a_row() -> None:
    assert {_place(name) for name in APP} <= set.union(*APP_ORDER)


def test_nothing_imports_from_a_later_row() -> None:
    rank = {name: number for number, row in enumerate(APP_ORDER) for name in row}
    upward = {
        (name, other)
        for name, others in _inner(APP).items()
        for other in others
        if rank[_place(other)] > rank[_place(name)]
    }
    assert upward == set()


def test_method_and_scoring_do_not_know_each_other() -> None:
    first, second = NEITHER_KNOWS
    known = {(_place(name), _place(other)) for name, others in _inner(APP).items() for other in others}
    assert not {(first, second), (second, first)} & known


def test_no_circle() -> None:
    for modules in (APP, TRAINING, BENCHMARKS):
        # a package imports nothing of its own: its name stands for no module
        TopologicalSorter(_inner(modules)).prepare()


def test_app_knows_itself_by_relative_imports_alone() -> None:
    """So that it can be installed under another name than `app`."""
    absolute = {
        (name, node.lineno)
        for name, path in _modules("app").items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "app"
    }
    assert absolute == set()


def test_training_is_known_to_benchmarks_alone() -> None:
    def tops(modules: dict[str, set[str]]) -> set[str]:
        return {other.split(".")[0] for imports in modules.values() for other in imports}

    assert not {"training", "benchmarks", "tests"} & tops(APP)
    assert not {"benchmarks", "tests"} & tops(TRAINING)
    assert "tests" not in tops(BENCHMARKS)


def test_torch_click_and_dicom_stay_where_they_belong() -> None:
    assert {_place(name) for name, imports in APP.items() if "torch" in imports} <= TORCH
    assert {name for name, imports in APP.items() if {"pydicom", "highdicom"} & imports} == {
        "app.images.dicom",
        "app.images.dicom_seg",
        "app.results.dicom_key",
        "app.results.dicom_sr",
        "app.images.dicom_volume",
    }
    assert {_place(name) for name, imports in APP.items() if "click" in imports} == {"cli"}


def test_training_a_network_needs_no_simpleitk() -> None:
    """training/train.py must run on a bare GPU machine: torch, numpy, scipy."""
    everything = APP | TRAINING
    reached: set[str] = set()
    waiting = ["training.train"]
    while waiting:
        name = waiting.pop()
        if name not in reached and name in everything:
            reached.add(name)
            waiting += everything[name]
    assert "training.train" in reached
    assert "SimpleITK" not in {other for name in reached for other in everything[name]}


def test_no_file_is_long_and_no_function_either() -> None:
    """A file fits into a head, a function on a screen."""
    for name, path in (_modules("app") | _modules("training")).items():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, name
        long = [
            node.name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
        ]
        assert long == [], name


def test_axis_orders_end_in_images() -> None:
    """SimpleITK counts (x, y, z): who asks for a spacing gets it as (z, y, x), from app.images.grids."""
    knows = ("app.images", "app.phantom", *(f"app.method.{name}" for name in REGISTRATION))
    asking = {
        name
        for name, path in _modules("app").items()
        if "GetSpacing(" in path.read_text(encoding="utf-8") and not name.startswith(knows)
    }
    assert asking == set()
