"""Imports go downwards only, so that each part can be read, tested and replaced without those above it."""

import ast
import sys
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

# Each folder of the package, or module at its top, and those that it may import besides itself.
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"runner"},
    "redact": set(),
    "stopped_processes": set(),
    "parameters": {"redact", "run_folder"},
    "run_folder": set(),
    "demo": set(),
    "stacks": set(),
    "device": set(),
    "engines": {"demo", "parameters"},
    "components": {"engines", "stacks"},
    "analysis": {"components", "device", "engines", "run_folder", "stacks"},
    "comparison": {"analysis", "components", "engines", "parameters", "run_folder", "stacks"},
    "timeline": {"analysis", "run_folder", "stacks"},
    "plots": {"components", "run_folder"},
    "flamegraph": {"components", "run_folder"},
    "report": {
        *("analysis", "comparison", "components", "engines", "flamegraph", "parameters", "run_folder"),
        *("stacks", "timeline"),
    },
    "explore": {"analysis", "components", "engines", "flamegraph", "parameters", "report", "stacks"},
    "capture": {
        *("__init__", "demo", "engines", "parameters", "redact", "run_folder", "stopped_processes"),
    },
    "notebook": {
        "analysis",
        "capture",
        "comparison",
        "components",
        "explore",
        "parameters",
        "plots",
        "redact",
        "report",
        "run_folder",
        "stacks",
    },
    "runner": {"components", "parameters", "redact", "run_folder", "stopped_processes"},
}
# They run in the server's interpreter, or before anything is installed.
STAND_ALONE = (
    "capture/delays/sitecustomize.py",
    "capture/inspect_server.py",
    "capture/launcher.py",
    "capture/schedstat_reader.py",
    "capture/tick_reader.py",
    "demo/__init__.py",
    "demo/serve_0_0_2.py",
    "demo/tiny_model.py",
    "runner/guard.py",
)
# The only program of the kit that uses JAX, in a process of its own.
READS_TRACES = "device/extract.py"
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """The folder, or the module at the top, of a module (``scoreprof_nb.plots.bars``)."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts if parts[-1] != "__init__" else parts[:-1])


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path: Path, *, at_load: bool = False) -> set[str]:
    """Every module that a file imports, inside functions too unless ``at_load``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if name.startswith("scoreprof_nb") and is_module(name)}
            imported |= modules
            if len(modules) < len(inner):
                imported.add(node.module)
    return imported


def own(path: Path, **how: bool) -> set[str]:
    return {name for name in imports(path, **how) if name.split(".")[0] == "scoreprof_nb"}


def label(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_modules_are_found():
    """Broken: every test below passes on an empty list."""
    assert {"run_folder/store.py", "capture/session.py", "plots/bars.py"} <= {label(path) for path in MODULES}
    assert "scoreprof_nb.capture.session" in own(PACKAGE / "notebook" / "profile.py")
    assert "scoreprof_nb" in own(PACKAGE / "capture" / "provenance.py")


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_go_downwards(path):
    """Broken: a folder imports one that lies above it."""
    part = part_of(name_of(path))
    assert part in MAY_IMPORT, f"a new folder needs a line in {Path(__file__).name}"
    wrong = {name for name in own(path) if part_of(name) not in MAY_IMPORT[part] | {part}}
    assert not wrong, f"{part} may import only {sorted(MAY_IMPORT[part])}"


@pytest.mark.parametrize("name", STAND_ALONE)
def test_stand_alone_programs_import_nothing_of_the_kit(name):
    """Broken: a program that runs in an interpreter without the kit imports the kit."""
    assert not own(PACKAGE / name)


@pytest.mark.parametrize(
    "name",
    [
        "capture/delays/sitecustomize.py",
        "capture/launcher.py",
        "capture/schedstat_reader.py",
        "capture/tick_reader.py",
        "runner/guard.py",
    ],
)
def test_parent_of_others_needs_the_standard_library_only(name):
    assert {module.split(".")[0] for module in imports(PACKAGE / name)} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_matplotlib_is_in_the_plots_only(path):
    """Broken: the analysis needs a plotting library."""
    if any(name.split(".")[0] == "matplotlib" for name in imports(path)):
        assert label(path).startswith(("plots/", "notebook/"))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_jupyter_is_in_the_notebook_part_only(path):
    """Broken: the core needs Jupyter."""
    jupyter = {"IPython", "nbformat", "nbconvert", "papermill", "ipykernel"}
    if {name.split(".")[0] for name in imports(path)} & jupyter:
        assert label(path).startswith(("notebook/", "runner/"))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_serving_packages_are_in_the_servers_programs_only(path):
    """Broken: a run folder cannot be read on a machine without JAX and sglang-jax."""
    serving = {"jax", "jaxlib", "sgl_jax", "transformers", "safetensors", "tokenizers", "ml_dtypes", "flax"}
    if {name.split(".")[0] for name in imports(path)} & serving:
        assert label(path) in (*STAND_ALONE, READS_TRACES)


def test_only_the_reader_of_traces_loads_jax():
    """Broken: the kit loads JAX, which takes a second and 300 MB, for runs without a trace."""
    path = PACKAGE / READS_TRACES
    assert "jax.profiler" in imports(path)
    assert not {name.split(".")[0] for name in imports(path, at_load=True)} & {"jax", "jaxlib"}
    module = name_of(path)
    assert not [label(other) for other in MODULES if module in own(other)], "it runs in a process of its own"


def test_no_import_goes_in_a_circle():
    """Broken: two modules import each other."""
    graph = {name_of(path): own(path) - {name_of(path)} for path in MODULES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"circle: {' -> '.join((*way, name))}"
        if name not in done:
            for imported in sorted(graph.get(name, ())):
                if not way or imported != name.rpartition(".")[0]:
                    visit(imported, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_contributing_has_the_same_table():
    """Broken: the architecture page shows another table than this file enforces; paste the right-hand side
    there.
    """
    section = (
        (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| may import |\n")[2]
    )
    documented = section.partition("\n\n")[0].splitlines()[1:]
    enforced = [
        f"| `{part}` | {', '.join(f'`{name}`' for name in sorted(allowed)) or 'nothing'} |"
        for part, allowed in MAY_IMPORT.items()
    ]
    assert documented == enforced, "\n".join(enforced)
