"""There is one way to call the Control Plane (docs/contributing.md): requests are built in client/ and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "provider" / "spg99"
OUTSIDE = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "client")
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def second_ways(tree: ast.AST) -> Iterator[str]:
    """What a file does beside the one way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (f"line {node.lineno}: imports {name}" for name in names if is_http(name))  # type: ignore[attr-defined]
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "Client":
            yield f"line {node.lineno}: opens a client without `Client.of`"
        method = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if method in METHODS and len(node.args) > 1 and isinstance(node.args[1], ast.JoinedStr):
            yield f"line {node.lineno}: writes values into a path"


def is_http(module: str) -> bool:
    return module.split(".")[0] in {"httpx", "httpx_sse", "requests", "aiohttp"} or module in {
        "urllib.request",
        "http.client",
    }


def test_requests_are_built_in_one_place() -> None:
    assert [f"{path}, {way}" for path in OUTSIDE for way in second_ways(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize(
    "second",
    [
        "import httpx",
        "from urllib.request import urlopen",
        "client = Client(url, key)",
        'client.call("GET", f"/tenants/{quote(name)}")',
    ],
)
def test_a_second_way_would_be_seen(second: str) -> None:
    assert list(second_ways(ast.parse(second)))
