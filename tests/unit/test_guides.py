"""Guides say what is true: quoted messages are in the code, programs compile, links lead somewhere. Not here: running them (integration)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "provider" / "spg99").rglob("*.py")))


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of this language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_every_quoted_message_is_one_that_we_say() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()
    quoted = re.findall(r"`([^`]+)`", "\n".join(line for line in page.splitlines() if line.startswith("### ")))
    assert len(quoted) > 10
    assert [message for message in quoted if message not in SOURCE] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_has_front_matter_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert text.startswith('---\npage_title: "')
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_python_of_a_guide_compiles_and_names_what_there_is(page: Path) -> None:
    import spg99.dynamic

    for program in blocks(page, "python"):
        tree = ast.parse(program)
        for statement in ast.walk(tree):
            if isinstance(statement, ast.ImportFrom) and statement.module == "spg99.dynamic":
                for name in statement.names:
                    assert hasattr(spg99.dynamic, name.name), name.name


def test_the_readme_shows_the_program_that_it_runs() -> None:
    example = ROOT / "examples" / "01-hello-database"
    readme = ROOT / "README.md"
    (shown,) = blocks(readme, "python")
    _docstring, *statements = ast.parse((example / "__main__.py").read_text()).body
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.Module(statements, []))
    seconds = yaml.safe_load((example / "Pulumi.yaml").read_text())["config"]["hello-database:idleTimeoutSeconds"]
    words = {3: "three"}[seconds["default"]]
    assert f"{words} quiet seconds put it to sleep" in readme.read_text()
    assert f"after {words} idle seconds" in (example / "README.md").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES], ids=lambda page: page.stem)
def test_the_options_of_dev_and_env_that_a_page_names_are_there(page: Path) -> None:
    from spg99.commands.dev import dev
    from spg99.commands.env import env

    for command in (dev, env):
        there = {option for parameter in command.params for option in parameter.opts}
        for line in re.findall(rf"spg99 {command.name} ([^`)#\n]*)", page.read_text()):
            assert set(re.findall(r"--[\w-]+", line)) <= there, line
