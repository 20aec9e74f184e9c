"""The rooms of the package stand in one order: each imports only from those before it."""

import ast
import re
from pathlib import Path

import pytest

import vlad

PACKAGE = Path(vlad.__file__).parent
# fmt: off
ROOMS = [
    "types", "errors", "demo", "system", "images", "metrics", "maths", "prompts", "backbones",
    "vlm", "datasets", "synthetic", "adapters", "heads", "calibration", "time", "scoring",
    "results", "report", "reasons", "detector", "review", "hub", "notebook", "evaluation",
    "training", "runs", "serving",
    "commands", "cli",
]
# fmt: on
MAX_IN_ROOT = 12


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path, *, typing: bool) -> set[str]:
    """The modules of vlad that a file imports anywhere in it.

    Args:
        typing: whether those count that only a type checker sees.
    """
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and not typing and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return {name for name in found if name in FILES}


def room(name: str) -> str:
    return name.split(".")[1]


MODULES = [name for name in FILES if name not in ("vlad", "vlad.__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_the_rooms_before_its_own(name):
    above = [
        other
        for other in imports(FILES[name], typing=True) - {"vlad"}
        if ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert not above


def test_no_circle_of_modules():
    edges = {name: imports(file, typing=False) for name, file in FILES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                # a package's own text may be read while its modules load
                if not name.startswith(f"{other}."):
                    visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_the_page_of_concepts_shows_this_order():
    page = (Path(__file__).parents[1] / "docs" / "concepts.md").read_text(encoding="utf-8")
    rows = page.partition("## The rooms")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)(?:/|\.py)` \|", rows, re.MULTILINE) == ROOMS


def test_few_modules_in_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_IN_ROOT
