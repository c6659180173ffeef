"""The shape of the source: who may import whom, entry points, and sizes."""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bootstrap", "runtime")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SHARED = {"trouble", "log", "tool", "spec", "api", "etcd", "postgres", "authority", "patroni", "wal", "lzop", "store",
          "basebackup", "records", "schedule", "holders"}
# How the archiver is called is spelled where it is: whoever starts a PostgreSQL needs it for restore_command.
COMMANDS = {"runtime.archive"}
TOOLS = {path.stem for path in (ROOT / "runtime").iterdir() if path.name != "__init__.py" and (path.suffix == ".py" or (
    path / "__init__.py").exists())} - SHARED
# What runs so often, or so early, that it has to start quickly.
STANDARD_ONLY = ("bootstrap.launch", "runtime.health", "runtime.trouble", "runtime.log", "runtime.tool",
                 "runtime.postgres", "runtime.spec")


def name_of(path: Path) -> str:
    """The module that a file is."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, deep: bool = True) -> set[str]:
    """The modules that a file imports; `deep`: also within functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from runtime import postgres` imports a module, `from runtime.log import Log` a name of one.
            whole = node.module or ""
            found |= {f"{whole}.{alias.name}" for alias in node.names} if whole in PACKAGES else {whole}
    return found


def ours(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    return {name for name in imports(path) if name.split(".")[0] in PACKAGES}


def tool_of(module: str) -> str:
    """The tool or shared module of the runtime that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", [one for one in FILES if one.is_relative_to(ROOT / "runtime")], ids=name_of)
def test_runtime(path: Path) -> None:
    """The runtime never imports the boot; no tool imports another, and no shared module imports a tool."""
    own = tool_of(name_of(path))
    assert [name for name in ours(path) if name.startswith("bootstrap")] == []
    allowed = SHARED if own in SHARED else SHARED | {own}
    assert {tool_of(name) for name in ours(path) - COMMANDS} - allowed - {""} == set()


def test_tools_are_known() -> None:
    """The modules of the runtime are the shared ones and the tools; a new one is put on one side on purpose."""
    assert {"archive", "backup", "cli", "governor", "health", "proxy", "replica", "sentinel", "steward", "wale"} == TOOLS


ORDER = ("kinds", "storekinds", "foreign", "table", "together", "storage", "settings", "facts", "layout", "derive", "parameters", "hba", "overrides", "render",
         "plan", "apply", "launch", "reference", "__main__")


@pytest.mark.parametrize("path", [one for one in FILES if one.is_relative_to(ROOT / "bootstrap")], ids=name_of)
def test_bootstrap(path: Path) -> None:
    """In the boot the arrows go one way, from kinds to __main__; the plan and the renderers know one another."""
    own = name_of(path).split(".")[1:2] or [""]
    for name in ours(path):
        if not name.startswith("bootstrap.") or own == [""]:
            continue
        other = name.split(".")[1]
        together = {own[0], other} <= {"plan", "render"}
        assert ORDER.index(other) <= ORDER.index(own[0]) or together, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [one for one in FILES if one.is_relative_to(ROOT / "bootstrap")], ids=name_of)
def test_bootstrap_uses_tools_for_their_commands(path: Path) -> None:
    """Of a tool the boot imports the part that spells its command line or names its files, and nothing that runs."""
    modules = {name for name in ours(path) if name.startswith("runtime.") and tool_of(name) in TOOLS}
    assert modules <= {"runtime.archive", "runtime.backup", "runtime.governor", "runtime.proxy", "runtime.sentinel",
                       "runtime.steward", "runtime.steward.post_init", "runtime.replica", "runtime.replica.from_archive",
                       "runtime.replica.from_backup", "runtime.replica.from_leader"}


@pytest.mark.parametrize("module", STANDARD_ONLY)
def test_quick_start(module: str) -> None:
    """What has to start quickly imports the standard library only, itself and through what it imports of ours."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for other in imports(path, deep=False):
            if other.split(".")[0] in PACKAGES:
                waiting.append(other)
            else:
                assert other.split(".")[0] in sys.stdlib_module_names, f"{name} imports {other}"


def test_entry_points() -> None:
    """Every command of the distribution exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["scripts"]) == {"spilo", "spilo-boot"}
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_file(path: Path) -> None:
    """A file opens with a docstring that ends as a sentence, and has at most 320 lines (tests, with tables, 480)."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "no docstring"
    assert docstring.split("\n\n")[0].endswith((".", ":", "?")), docstring
    assert len(text.splitlines()) <= (320 if path in FILES else 480)


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_functions(path: Path) -> None:
    """No function has more than 60 lines, and every public one of the runtime's shared modules says what it is for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_state_behaviour(path: Path) -> None:
    """Every test says in its docstring which behaviour it holds, and none sleeps."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert (ast.get_docstring(node) or "").endswith("."), node.name
    if path.is_relative_to(ROOT / "tests" / "unit"):
        assert "time.sleep" + "(" not in text
