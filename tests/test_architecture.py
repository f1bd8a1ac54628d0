"""The house rules that a program can check: which room may import which, and what files say of themselves."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("liveavatar", "genbench", "evalkit", "reports")
ALLOWED = {"evalkit": {"liveavatar", "genbench", "reports"}, "liveavatar": set(), "genbench": set(), "reports": set()}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    forbidden = set(ROOMS) - ALLOWED[room] - {room}
    wrong = {str(path.relative_to(ROOT)): imported(path) & forbidden for path in sources(room)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_model_and_the_stream_know_no_paths_or_commands() -> None:
    outer = {"argparse", "pathlib", "subprocess"}
    for folder in ("model", "streaming"):
        for path in sorted((ROOT / "liveavatar" / folder).glob("*.py")):
            assert not imported(path) & outer, path


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_says_what_it_is_for(room: str) -> None:
    silent = [path for path in sources(room) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_there_is_no_room_for_leftovers() -> None:
    names = {path.stem for room in ROOMS for path in sources(room)}
    assert not names & {"utils", "util", "misc", "helper", "helpers", "common"}


def package_trees() -> list[tuple[str, ast.Module]]:
    """Every source file of the packages, parsed."""
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for room in ROOMS for path in sources(room)]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute, empty for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the constants that are docstrings."""
    owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    bodies = [owner.body for owner in owners if owner.body and isinstance(owner.body[0], ast.Expr)]
    return {id(body[0].value) for body in bodies}  # type: ignore[attr-defined]


def names_a_device(node: ast.AST) -> bool:
    """A "cuda" or "cuda:0" literal, or a call of `.cuda()`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value == "cuda" or node.value.startswith("cuda:")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"


PICKLERS = {"pickle", "dill", "joblib", "cloudpickle", "shelve"}


def unpickles(node: ast.AST) -> bool:
    """`torch.load` without weights_only=True, or anything that reads pickles by another name."""
    if isinstance(node, ast.ImportFrom):
        return node.module in PICKLERS
    if not isinstance(node, ast.Call):
        return False
    name = dotted(node.func)
    if name == "torch.load":
        given = {word.arg: word.value for word in node.keywords}.get("weights_only")
        return not (isinstance(given, ast.Constant) and given.value is True)
    allows_pickle = any(
        word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        for word in node.keywords
    )
    return allows_pickle or name.split(".")[0] in PICKLERS


SWITCHES = ("torch.set_", "torch.use_deterministic_algorithms", "torch.manual_seed", "torch.seed", "torch.backends.",
            "torch.compiler.", "torch._dynamo", "torch._inductor", "np.random.seed", "numpy.random.seed")  # fmt: skip


def runs_at_import(tree: ast.Module) -> list[ast.AST]:
    """Nodes that importing a file executes: not those inside functions, and not a main block."""
    nodes: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for decorator in getattr(node, "decorator_list", []):
                visit(decorator)
            return
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            return
        nodes.append(node)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return nodes


def switches_torch(node: ast.AST) -> bool:
    """A call of, or an assignment to, one of torch's (or numpy's) global settings."""
    if isinstance(node, ast.Call):
        return dotted(node.func).startswith(SWITCHES)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    return any(dotted(target).startswith(SWITCHES) for target in targets)


def test_no_file_names_a_device_of_its_own() -> None:
    found = {
        (path, node.lineno)  # type: ignore[attr-defined]
        for path, tree in package_trees()
        for node in ast.walk(tree)
        if names_a_device(node) and id(node) not in docstrings(tree)
    }
    assert found == set()


def test_importing_a_file_switches_nothing_in_torch() -> None:
    trees = package_trees()
    assert {path for path, tree in trees for node in runs_at_import(tree) if switches_torch(node)} == set()


def test_nothing_is_unpickled_but_weights() -> None:
    trees = package_trees()
    assert {path for path, tree in trees for node in ast.walk(tree) if unpickles(node)} == set()


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (names_a_device, "x.to('cuda:1')", "x.to(device)"),
        (names_a_device, "model.cuda()", "torch.cuda.synchronize(device)"),
        (unpickles, "torch.load(path)", "torch.load(path, weights_only=True)"),
        (unpickles, "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=False)"),
        (unpickles, "pickle.loads(data)", "json.loads(data)"),
        (unpickles, "from pickle import loads", "import pickle  # for its error"),
        (switches_torch, "torch.backends.cudnn.benchmark = True", "self.backends = True"),
        (switches_torch, "torch.set_num_threads(1)", "torch.get_num_threads()"),
    ],
)
def test_the_rules_find_what_they_forbid(rule: Callable[[ast.AST], bool], bad: str, good: str) -> None:
    assert any(rule(node) for node in runs_at_import(ast.parse(bad)))
    assert not any(rule(node) for node in runs_at_import(ast.parse(good)))
    assert not any(rule(node) for node in runs_at_import(ast.parse(f"def f():\n    {bad}")))
