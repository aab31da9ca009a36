"""What nobody emits does not stay in a generated folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_that_nobody_emits_is_found(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = tmp_path / "sdk"
    for name in ("python/a.py", "python/old.py", "python/__pycache__/a.pyc", "nodejs/node_modules/x/index.js"):
        (sdk / name).parent.mkdir(parents=True, exist_ok=True)
        (sdk / name).write_text("")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "FOLDERS", (sdk,))
    assert generate.strangers({sdk / "python/a.py": ""}) == [sdk / "python/old.py"]


def test_every_sdk_is_generated(generate: ModuleType) -> None:
    wanted = {path.relative_to(ROOT).parts[:2] for path in generate.files() if path.relative_to(ROOT).parts[0] == "sdk"}
    assert wanted == {("sdk", "python"), ("sdk", "nodejs")}
    assert generate.strangers(generate.files()) == []
