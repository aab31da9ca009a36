"""Programs in YAML, run by the embedded engine with real provider processes and state files."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from kit.waits import wait_for
from spg99.engine.values import UNKNOWN, is_secret


@pytest.fixture
def yaml(project: Any) -> Any:
    """Writes the project's program."""

    def write(text: str) -> None:
        (project.folder / "Pulumi.yaml").write_text("name: project\nruntime: yaml\n" + textwrap.dedent(text))

    return write


WHOLE = """
config:
  text: {type: string}
  size: {type: integer, default: 3}
  code: {type: string, secret: true}
variables:
  greeting: {fn::join: [" ", [hello, "${text}"]]}
  found: {fn::shelf:find: {text: "${first.text}"}}
resources:
  second:
    type: shelf:Box
    properties:
      text: "at ${first.path}"
      labels: {json: {fn::toJSON: ["${first.id}", "${size}"]}, part: "${first.parts[1].name}"}
    options: {customTimeouts: {create: 7m}, additionalSecretOutputs: [shade]}
  first:
    type: shelf:index:Box
    name: first-of-all
    properties: {text: "${greeting}", size: "${size}", code: "${code}", parts: [{name: a}, {name: b}]}
outputs:
  path: ${first.path}
  password: "the ${first.password}"
  names: ${found.names}
  where: ${pulumi.project}/${pulumi.stack}
"""


def test_a_program_in_yaml_lives_its_life(project: Any, yaml: Any) -> None:
    yaml(WHOLE)
    project.call("stack", "init", "dev")
    for arguments in (("text", "world"), ("--secret", "code", "rosebud")):
        assert project.call("config", "set", *arguments, "-s", "dev")[0] == 0
    shown = project.preview()
    assert shown.ok and shown.changes == {"create": 3} and project.journal("create") == []
    assert shown.outputs == {"path": UNKNOWN, "password": UNKNOWN, "names": UNKNOWN, "where": "project/dev"}
    made = project.up()
    assert made.changes == {"create": 3} and project.journal("create") == ["create first-of-all", "create second"]
    assert made.outputs["names"] == ["first-of-all-1"] and made.outputs["where"] == "project/dev"
    assert is_secret(made.outputs["password"])
    second = project.resource("second")
    assert second["inputs"]["labels"] == {"json": '["first-of-all-1",3]', "part": "b"}
    urn = project.resource("first-of-all")["urn"]
    assert second["dependencies"] == [urn] and second["propertyDependencies"] == {"text": [urn], "labels": [urn]}
    assert second["customTimeouts"] == {"create": 420} and second["additionalSecretOutputs"] == ["shade"]
    kept = project.state_file.read_text()
    assert not [s for s in ("rosebud", "code of first", "shade of second") if s in kept]
    assert project.up().changes == {"same": 3}
    assert project.up(config={"text": "moon"}).changes == {"same": 2, "update": 1}
    assert project.destroy().ok and project.names() == []


def test_options_reach_the_engine(project: Any, yaml: Any) -> None:
    (project.shelf / "found-1.json").write_text('{"text": "there", "size": 1}')
    yaml("""
    resources:
      south: {type: "pulumi:providers:shelf", properties: {zone: south}}
      parent: {type: shelf:Box, properties: {text: p}, options: {provider: "${south}", protect: true}}
      child: {type: shelf:Box, properties: {text: c}, options: {parent: "${parent}", protect: false}}
      taken: {type: shelf:Box, properties: {text: there}, options: {import: found-1}}
      seen: {type: shelf:Box, get: {id: found-1}}
      later: {type: shelf:Box, properties: {text: "${seen.text}", kind: k}, options: {dependsOn: ["${child}"]}}
    """)
    result = project.up()
    assert result.changes == {"create": 5, "import": 1, "read": 1}
    assert {e["name"]: e["zone"] for e in project.entries() if e["op"] == "create"} == {
        "parent": "south",
        "child": "south",
        "later": "north",
    }
    assert project.resource("child")["parent"] == project.resource("parent")["urn"]
    assert project.resource("parent")["protect"] and "protect" not in project.resource("child")
    assert project.resource("seen")["external"] and project.resource("taken")["id"] == "found-1"
    yaml("""
    resources:
      south: {type: "pulumi:providers:shelf", properties: {zone: south}}
      parent: {type: shelf:Box, properties: {text: p}, options: {provider: "${south}", protect: false}}
      renamed: {type: shelf:Box, properties: {text: c}, options: {parent: "${parent}", aliases: [{name: child}]}}
      later: {type: shelf:Box, properties: {text: "${seen.text}", kind: k2}, options: {deleteBeforeReplace: true}}
      seen: {type: shelf:Box, get: {id: found-1}}
      taken: {type: shelf:Box, properties: {text: other}, options: {retainOnDelete: true, ignoreChanges: [text]}}
    """)
    project.journal()
    result = project.up()
    assert result.changes == {"same": 5, "replace": 1, "read": 1}
    assert project.journal("create", "delete") == ["delete later", "create later"]
    assert project.resource("taken")["inputs"]["text"] == "there"
    assert project.destroy().ok and (project.shelf / "found-1.json").exists()


@pytest.mark.slow  # again
def test_a_default_provider_of_the_program(project: Any, yaml: Any) -> None:
    yaml("""
    resources:
      own: {type: "pulumi:providers:shelf", properties: {zone: west}, defaultProvider: true}
      a: {type: shelf:Box, properties: {text: a}}
    """)
    project.up()
    assert [e["zone"] for e in project.entries() if e["op"] == "create"] == ["west"]
    assert not [r for r in project.state()["resources"] if r["urn"].endswith("::default")]


def test_mistakes_of_the_text_stop_before_anything_is_made(project: Any, yaml: Any) -> None:
    yaml("resources:\n  a: {type: shelf:Box, proprties: {}}\noutputs: {o: '${b.id}'}")
    said = project.why(project.up(ok=False))
    assert "Pulumi.yaml:4:24: `proprties` is not known" in said and "Did you mean `properties`?" in said
    assert "Pulumi.yaml:5:14: ${b.id}: nothing is called `b`." in said
    assert project.names() == [] and project.journal() == []


def test_what_fails_while_it_runs_is_told_with_its_place(project: Any, yaml: Any) -> None:
    project.behave(create__bad={"fail": "no room on the shelf"})
    yaml("""
    variables: {slip: "${good.shde}"}
    resources: {good: {type: shelf:Box, properties: {text: g}}}
    outputs: {path: "${good.path}"}
    """)
    said = project.why(project.up(ok=False))
    assert said == ": Pulumi.yaml:4:19: ${good.shde}: the resource has no property `shde`. Did you mean `shade`?"
    yaml("""
    resources:
      good: {type: shelf:Box, properties: {text: g}}
      bad: {type: shelf:Box, properties: {text: "${good.text}"}}
      after: {type: shelf:Box, properties: {text: "${bad.path}"}}
    outputs: {path: "${good.path}", none: "${bad.path}"}
    """)
    assert project.why(project.up(ok=False)) == "bad: no room on the shelf"
    assert project.names() == ["good"] and project.state()["resources"][0]["outputs"].keys() == {"path"}
    yaml("variables: {asked: {fn::shelf:nothing: {}}}")
    said = project.why(project.up(ok=False))
    assert said == ": Pulumi.yaml:3:21: shelf:index:nothing: there is no function shelf:index:nothing"
    assert project.names() == ["good"], "a program that failed deletes nothing"


@pytest.mark.slow  # again
def test_configuration_that_is_missing_or_wrong(project: Any, yaml: Any) -> None:
    yaml("config: {size: {type: integer}, text: {type: string}}\noutputs: {o: '${size}'}")
    said = project.why(project.up(ok=False, config={"size": "big"}))
    assert "The configuration `size` must be a whole number." in said and "`spg99 config set text VALUE`" in said


def test_a_compiler_is_refused(project: Any) -> None:
    (project.folder / "Pulumi.yaml").write_text(
        "name: project\nruntime: {name: yaml, options: {compiler: cue export}}\n"
    )
    assert "names a `compiler`, which the embedded engine does not run" in project.why(project.up(ok=False))


@pytest.mark.slow  # broken
def test_an_interrupted_program_ends(project: Any, yaml: Any) -> None:
    import signal

    yaml(
        "resources:\n  slow: {type: shelf:Box, properties: {text: s}}\n  next: {type: shelf:Box, properties: {text: '${slow.path}'}}"
    )
    project.behave(create__slow={"wait": "yes"})
    assert project.call("stack", "init", "dev")[0] == 0
    process = project.command("up", "--yes", "--skip-preview", "-s", "dev")
    wait_for("the provider to wait", lambda: (project.shelf / "waiting-slow").exists())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 255 and "gave up waiting: cancelled" in out and "Traceback" not in out + err
    project.behave()
    assert project.up().changes == {"same": 1, "create": 2}
