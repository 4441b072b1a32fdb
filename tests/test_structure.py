"""The shape of the package: one door, imports one way, light to import."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import mlssocial

PACKAGE = Path(mlssocial.__file__).parent
ROOT = Path(__file__).parents[1]
LEAVES = {"browse", "cli", "django", "local", "reso", "testing"}
# Top to bottom: a module imports from the layers below its own, and from its own only where they stand on one line.
LAYERS = [
    {"django", "flask", "fastapi"},
    {"cli", "httperrors", "testing"},
    {"browse"},
    {"reso", "streams", "iam", "status"},
    {"transactions", "tenants"},
    {"models"},
    {"managers"},
    {"propagation"},
    {"indexes", "attributes", "results", "table"},
    {"atomic", "export", "restore", "purge"},
    {"batch", "audit", "reseal", "flat", "manifests", "migrations"},
    {"migration_files", "migration_record"},
    {"transforms", "migration_templates"},
    {"scans"},
    {"segments"},
    {"workers", "checkpoints"},
    {"drift", "differences"},
    {"writes", "rawwrites", "upgrades"},
    {"prepare"},
    {"changes", "expressions", "limits", "rollups", "explained"},
    {"connection", "head"},
    {"schema"},
    {"transport"},
    {"components", "compiled"},
    {"scalars"},
    {"wire"},
    {"crypto", "local", "codec"},
    {"entities", "kms"},
    {"jsontext"},
    {"settings"},
    {"masked"},
    {"keys", "tokens", "files", "notebook", "notices", "operations"},
    {"exceptions"},
]


def imports(path: Path) -> set[str]:
    """Give the modules of the package that a file imports when it runs, not for typing."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    inside = path.parent != PACKAGE
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in typing_only:
            continue
        if (node.level == 1 and not inside) or (node.level == 2 and inside):
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif node.module == "mlssocial":
            found |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        elif (node.module or "").startswith("mlssocial."):
            found.add(str(node.module).split(".")[1])
    return found


def modules() -> dict[str, set[str]]:
    """Give the package's modules and subpackages, with what each imports."""
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            graph.setdefault(name, set()).update(imports(path) - {name})
    return graph


class TestLayers:
    def test_imports_run_one_way(self) -> None:
        """Every module imports only from layers below its own."""
        order = {name: number for number, layer in enumerate(LAYERS) for name in layer}
        graph = modules()
        assert graph.keys() == order.keys()
        upwards = {(name, used) for name, uses in graph.items() for used in uses if order[used] <= order[name]}
        assert upwards == set()

    def test_only_keys_knows_the_separator(self) -> None:
        """No module but keys writes a key's separator."""
        for path in PACKAGE.rglob("*.py"):
            tree = ast.parse(path.read_text())
            documentation = {
                id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            literals = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
            ]
            keys = [
                text
                for text in literals
                if any(p in text for p in ("USER#", "LISTING#", "POST#", "METRICS#", "MLS#", "STATUS#"))
            ]
            if path.name not in {"keys.py", "patterns.py"}:
                assert keys == [], path


@pytest.mark.skipif(not (ROOT / "tools").is_dir(), reason="the tools are not there")
def test_seeded_faults_have_their_place() -> None:
    """Each fault that ``make seeded-faults`` puts into a copy has its text in the source, once."""
    tool = runpy.run_path(str(ROOT / "tools" / "seed_faults.py"))
    for seed in tool["SEEDS"]:
        assert tool["seeded"](seed)


LOCKS = [path for path in (ROOT / "requirements.lock", *ROOT.glob("[bt]*/*.lock")) if path.exists()]


@pytest.mark.skipif(not LOCKS, reason="the locks are not there")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_locked_has_hashes(lock: Path) -> None:
    """Every package that make installs is named with one version and its hashes, and from no other index than pip's own."""
    packages = [entry for entry in lock.read_text().replace("\\\n", " ").splitlines() if not entry.lstrip().startswith("#")]
    assert len(packages) > 20
    assert [
        entry for entry in packages if not re.fullmatch(r"[a-z0-9-]+==\S+( ; .*?)?( +--hash=sha256:[0-9a-f]{64})+ *", entry)
    ] == []


class TestDoor:
    def test_is_the_whole_surface(self) -> None:
        """Every public name is there, sorted, and nothing else."""
        assert mlssocial.__all__ == sorted(mlssocial.__all__)
        for name in mlssocial.__all__:
            assert getattr(mlssocial, name) is not None
            assert name in dir(mlssocial)
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            mlssocial.nonsense  # noqa: B018

    def test_typing_says_the_same(self) -> None:
        """What an editor sees of the door is what it gives."""
        tree = ast.parse((PACKAGE / "__init__.py").read_text())
        typed = {
            alias.asname
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for alias in node.names
        }
        assert typed == set(mlssocial.__all__)

    @pytest.mark.parametrize(
        ("code", "absent"),
        [
            (
                "import mlssocial",
                {
                    "click",
                    "rich",
                    "moto",
                    "ministack",
                    "pynamodb",
                    "botocore",
                    "pydantic",
                    "dask",
                    "django",
                    "flask",
                    "fastapi",
                },
            ),
            ("from mlssocial import Listing, ListingData", {"click", "rich", "moto", "ministack", "IPython", "boto3"}),
            ("from mlssocial import audit_table", {"click", "rich", "moto", "ministack", "dask", "distributed"}),
            ("import mlssocial.keys", {"pydantic", "botocore"}),
        ],
    )
    def test_imports_are_light(self, code: str, absent: set[str]) -> None:
        """Importing the package loads none of what only some of its users need."""
        script = f"{code}; import sys; print(' '.join(sys.modules))"
        loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        assert absent & {name.split(".")[0] for name in loaded} == set()
