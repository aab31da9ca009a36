"""The documentation is what the provider is: same schema as the CLI sees, valid for the registry, every example accepted. Needs no Control Plane."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.tiers import only_when_slow
from spg99.bridges.terraform.schema import tables
from spg99.bridges.terraform.schema_json import as_json
from spg99.prepared import PACKAGE
from terraform_cli import ROOT, Workspace, attached

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "```terraform" in path.read_text())


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    with attached(PACKAGE) as environment:
        yield environment


def test_the_schema_is_what_the_cli_sees(provider: dict[str, str], tmp_path: Path) -> None:
    work = Workspace(tmp_path, environment=provider)
    seen = json.loads(work.run("providers", "schema", "-json").out)["provider_schemas"]
    (theirs,) = [schema for address, schema in seen.items() if address.endswith("spg99/spg99")]
    ours = json.loads(json.dumps(as_json(tables(PACKAGE))))
    for part, schemas in ours.items():
        assert theirs[part] == schemas, part


@pytest.mark.slow  # built
def test_tfplugindocs_finds_nothing_wrong(provider: dict[str, str], tmp_path: Path) -> None:
    only_when_slow("tfplugindocs")
    binary = shutil.which("tfplugindocs") or shutil.which("tfplugindocs", path=str(ROOT / ".tools" / "bin"))
    if binary is None:
        pytest.skip("tfplugindocs is not on PATH (`make cli-tools` builds it)")
    work = Workspace(tmp_path / "work", environment=provider)
    # tfplugindocs looks a provider up under the name that its own build would give it
    schema = work.run("providers", "schema", "-json").out.replace("/spg99/spg99", "/hashicorp/spg99")
    (tmp_path / "schema.json").write_text(schema)
    shutil.copytree(DOCS, tmp_path / "docs")
    done = subprocess.run(
        [
            binary,
            "validate",
            "--provider-name=spg99",
            f"--provider-dir={tmp_path}",
            f"--providers-schema={tmp_path / 'schema.json'}",
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_example_is_accepted(provider: dict[str, str], tmp_path: Path, page: Path) -> None:
    blocks = re.findall(r"^```terraform\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for number, text in enumerate(blocks):
        if "import {" in text and "resource " not in text:
            continue  # goes with the resource of the page's example, and is tested by the imports
        work = Workspace(tmp_path / str(number), environment=provider)
        if "required_providers" in text:
            (work.folder / "versions.tf").unlink()
        work.write(text).validate()
