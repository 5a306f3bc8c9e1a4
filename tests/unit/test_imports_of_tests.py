"""Tests find their helpers as tests.support, never through sys.path or other test modules."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import TESTS

MODULES = sorted(TESTS.rglob("*.py"))


def label(path: Path) -> str:
    return str(path.relative_to(TESTS))


def imported_modules(tree: ast.Module) -> set[str]:
    """Every name that an import statement could load as a module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return names


def test_modules_are_listed() -> None:
    """Broken: the tests below pass on an empty list."""
    assert {"conftest.py", "support/paths.py", "unit/test_imports_of_tests.py"} <= set(map(label, MODULES))
    assert imported_modules(ast.parse("import a.b\nfrom c import d")) == {"a.b", "c.d"}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_sys_path_is_not_used(path: Path) -> None:
    """Broken: a test passes only from one folder, or imports another module than it names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path"), f"line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_nothing_is_imported_from_test_modules(path: Path) -> None:
    """Broken: helpers hide in test modules, and running one test runs another module's setup."""
    for name in imported_modules(ast.parse(path.read_text())):
        assert not any(part.startswith("test_") for part in name.split(".")), name
