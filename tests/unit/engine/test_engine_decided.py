"""Random programs against a stack, with failures between deciding and writing: the state never holds what was not decided, and
nothing protected goes. Real registration, deletion and snapshot; the provider is a dictionary of objects in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from spg99.engine.backend import Backend, StackFile
from spg99.engine.crypt import Crypter
from spg99.engine.decide import Difference, Goal, Kind
from spg99.engine.deletion import delete_all, leftovers
from spg99.engine.failure import OutcomeUnknown, PartlyFailed, StepFailed
from spg99.engine.project import Project
from spg99.engine.registration import register
from spg99.engine.run import Options, Run
from spg99.engine.snapshot import Snapshot
from spg99.engine.state import Resource, copy, load_deployment
from spg99.engine.urns import make
from spg99.engine.wanted import Alias, Wanted
from spg99.errors import Spg99Error, Unavailable

NAMES = ("a", "b", "c")
TYPE = "mem:index:Thing"
REFERENCE = "urn:pulumi:dev::p::pulumi:providers:mem::default::1"


@dataclass
class World:
    """The objects that exist, and the provider that serves them. Fails as it is told, once for each (method, name)."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    fails: dict[tuple[str, str], str] = field(default_factory=dict)
    package: str = "mem"
    configured: bool = True
    deleted: list[str] = field(default_factory=list)
    made: int = 0

    def _maybe_fail(self, method: str, urn: str) -> str:
        how = self.fails.pop((method, urn.rpartition("::")[2]), "")
        if how == "refused":
            raise StepFailed(f"{method} is refused")
        return how

    def check(self, urn: str, old: Any, new: Any, seed: bytes, named: Any = None) -> Any:
        self._maybe_fail("check", urn)
        return dict(new)

    def diff(self, old: Resource, new: Any, ignored: Any, urn: str) -> Difference:
        self._maybe_fail("diff", urn)
        keys = tuple(key for key in ("text", "kind", "place") if old.inputs.get(key) != new.get(key))
        replaces = tuple(key for key in keys if key in ("kind", "place"))
        return Difference(bool(keys), keys, replaces, delete_before_replace="place" in keys)

    def create(self, urn: str, inputs: Any, *, timeout: float, preview: bool) -> Any:
        how = self._maybe_fail("create", urn)
        if preview:
            return "", dict(inputs)
        self.made += 1
        id_ = f"{urn.rpartition('::')[2]}-{self.made}"
        if how != "lost before":
            self.objects[id_] = dict(inputs)
        if how.startswith("lost"):
            raise OutcomeUnknown("the provider ended")
        if how == "partly":
            raise PartlyFailed(id_, dict(inputs), dict(inputs), ["not ready"])
        return id_, dict(inputs)

    def update(self, urn: str, old: Resource, inputs: Any, ignored: Any, *, timeout: float, preview: bool) -> Any:
        how = self._maybe_fail("update", urn)
        if not preview:
            self.objects[old.id] = dict(inputs)
        if how:
            raise OutcomeUnknown("the provider ended")
        return dict(inputs)

    def read(self, urn: str, id_: str, inputs: Any, state: Any, *, timeout: float = 0) -> Any:
        self._maybe_fail("read", urn)
        found = self.objects.get(id_)
        return None if found is None else (id_, dict(found), dict(found))

    def delete(self, old: Resource, *, timeout: float) -> None:
        how = self._maybe_fail("delete", old.urn)
        if how != "lost before":
            self.objects.pop(old.id, None)
            self.deleted.append(old.id)
        if how:
            raise OutcomeUnknown("the provider ended")


class OneProvider:
    """All resources are served by the one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def get(self, reference: str) -> World:
        return self.world

    def default_for(self, type_: str, version: str = "", url: str = "") -> str:
        return REFERENCE

    def resource(self, reference: str) -> None:
        return None


@dataclass
class FullDisk:
    """A stack's file whose n-th write fails."""

    file: StackFile
    fails_at: int
    writes: int = 0

    def write(self, content: bytes) -> None:
        self.writes += 1
        if self.writes == self.fails_at:
            raise Unavailable("the disk is full")
        self.file.write(content)


declared = st.fixed_dictionaries(
    {
        "text": st.sampled_from("xyz"),
        "kind": st.sampled_from("km"),
        "place": st.sampled_from("pq"),
        "protect": st.booleans(),
        "retain": st.booleans(),
        "import": st.sampled_from([""] * 10 + ["theirs-1", "nobody-1"]),
        "alias": st.sampled_from([""] * 9 + [*NAMES]),
    }
)
programs = st.dictionaries(st.sampled_from(NAMES), declared)
# Most steps succeed: what a rule forbids is only reached by a run that comes that far.
failures = (
    st.just({})
    | st.just({})
    | st.dictionaries(
        st.tuples(st.sampled_from(["check", "diff", "create", "update", "read", "delete"]), st.sampled_from(NAMES)),
        st.sampled_from(["refused", "lost before", "lost after", "partly"]),
        max_size=2,
    )
)
ways = st.sampled_from(["up", "up", "up", "up", "only a", "destroy"])
"""A whole program, its part that is targeted, or the deletion of everything without a program."""
runs = st.lists(st.tuples(programs, failures, st.sampled_from([0] * 8 + [1, 2, 3, 4]), ways), min_size=2, max_size=4)

twins = st.lists(
    st.tuples(st.sampled_from(NAMES), st.booleans(), st.booleans(), st.booleans()), max_size=2, unique_by=lambda t: t[0]
)
"""Names that the state holds for one object, as a rename without an alias and an import once left it; protected, retained, and
whether its deletion is pending while another live one is made."""

left_behind = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.booleans(), st.booleans()), max_size=2)
"""What the state of an older version may hold: a name whose replaced object still waits for its deletion, protected or retained."""


def a_thing(**more: Any) -> dict[str, Any]:
    """A declaration of a program."""
    plain = {"text": "x", "kind": "k", "place": "p", "protect": False, "retain": False, "import": "", "alias": ""}
    return plain | more


def begin(
    stack: StackFile, world: World, left: dict[str, tuple[bool, bool]], twice: list[tuple[str, bool, bool, bool]]
) -> None:
    """A stack with what an older version has left in it."""
    resources = []
    inputs = {"text": "x", "kind": "k", "place": "p"}
    for name, protect, retain, pending in twice:
        if name not in left:
            twin = Resource(
                make("dev", "p", TYPE, name), TYPE, id="twice", inputs=inputs, outputs=inputs, provider=REFERENCE
            )
            resources.append(copy(twin, protect=protect, retain_on_delete=retain, delete=pending))
            world.objects["twice"] = inputs
    for name, (protect, retain) in left.items():
        inputs = {"text": "x", "kind": "k", "place": "p"}
        live = Resource(
            make("dev", "p", TYPE, name), TYPE, id=f"{name}-live", inputs=inputs, outputs=inputs, provider=REFERENCE,
            protect=protect, retain_on_delete=retain,
        )  # fmt: skip
        resources += [live, copy(live, id=f"{name}-replaced", delete=True)]
        world.objects |= {f"{name}-live": inputs, f"{name}-replaced": inputs}
    snapshot = Snapshot(load_deployment(stack.read(), str), Crypter("x", None), stack)
    snapshot.rewrite(resources)
    snapshot.save()


def wanted_of(name: str, props: dict[str, Any]) -> Wanted:
    return Wanted(
        urn=make("dev", "p", TYPE, name),
        type=TYPE,
        name=name,
        custom=True,
        parent="",
        inputs={key: props[key] for key in ("text", "kind", "place")},
        goal=Goal(protect=props["protect"], import_id=props["import"]),
        retain_on_delete=props["retain"],
        aliases=[Alias(name=props["alias"])] if props["alias"] else [],
    )


def carry_out(folder: Path, world: World, stack: StackFile, program: dict[str, Any], fails_at: int, way: str) -> Run:
    crypter = Crypter("x", None)
    base = load_deployment(stack.read(), crypter.decrypt)
    run = Run(
        project=Project(folder, folder / "Pulumi.yaml", "p", "python", {}, folder, None, {}, {}, folder),
        stack="dev",
        options=Options(parallel=1, targets=(lambda urn: urn.endswith("::a")) if way == "only a" else None),
        config={},
        environment={},
        snapshot=Snapshot(base, crypter, FullDisk(stack, fails_at)),  # type: ignore[arg-type]
        olds={r.urn: r for r in base.resources if not r.delete},
        listener=lambda event: None,
        cwd=folder,
    )
    providers: Any = OneProvider(world)
    if way == "destroy":
        delete_all(run, providers, run.snapshot.resources())
    else:
        for name in sorted(program):
            register(run, providers, wanted_of(name, program[name]))
        if not run.result.failures:
            delete_all(run, providers, leftovers(run))
    if run.dirty:
        try:
            run.snapshot.save()
        except Spg99Error as error:
            run.fail(error.message)
    return run


@settings(
    max_examples=60,
    deadline=None,
    # A program of four runs is small enough to read; making it smaller takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=runs, left=left_behind, twice=twins)
# One object under two names, of which the one that is retained leaves the state first, in either order of the run.
@example(runs=[({}, {}, 0, "up")], left={}, twice=[("c", False, False, True), ("b", False, True, False)])
@example(runs=[({}, {}, 0, "destroy")], left={}, twice=[("b", False, True, False), ("c", False, False, False)])
# The one that is retained waits to be made anew, and is replaced under its other name before the other entry is deleted.
@example(
    runs=[
        ({"b": a_thing(place="q", retain=True)}, {}, 2, "up"),
        ({"c": a_thing(alias="b", retain=True)}, {}, 0, "up"),
    ],
    left={},
    twice=[("b", True, True, False), ("c", True, False, True)],
)
def test_the_state_holds_only_what_was_decided(
    tmp_path_factory: pytest.TempPathFactory,
    runs: Any,
    left: dict[str, tuple[bool, bool]],
    twice: list[tuple[str, bool, bool, bool]],
) -> None:
    folder = tmp_path_factory.mktemp("decided")
    backend = Backend(f"file://{folder}", cwd=folder)
    backend.open()
    stack = backend.stack("p", "dev")
    stack.create()
    world = World({"theirs-1": {"text": "x", "kind": "k", "place": "p"}})
    begin(stack, world, left, twice)
    for written, fails, fails_at, way in runs:
        program = {} if way == "destroy" else written
        before = load_deployment(stack.read(), str).resources
        objects = set(world.objects)
        world.fails, world.deleted = dict(fails), []
        run = carry_out(folder, world, stack, program, fails_at, way)
        after = load_deployment(stack.read(), str).resources
        done = {(step.kind, step.urn) for step in run.result.steps if step.error is None}
        check_protected(before, after, program, run, world)
        check_marks(before, after, done, program)
        check_origin(before, after, run, objects)
        check_refused(before, after, run, program)
        check_held(before, after, run, world)
        live = [r.urn for r in after if not r.delete]
        assert len(live) == len(set(live)), "two live ones with one name"


def name_of(resource: Resource) -> str:
    return resource.urn.rpartition("::")[2]


def takers(name: str, before: list[Resource], program: dict[str, Any]) -> list[str]:
    """Who may take the live entry `name`, in the program's order: its own declaration, or one with an alias to it that has no live
    entry itself. The first does, unless it fails before."""
    live = {name_of(r) for r in before if not r.delete}
    return [n for n in sorted(program) if n == name or (program[n]["alias"] == name and n not in live)]


def is_released(old: Resource, before: list[Resource], program: dict[str, Any], run: Run) -> bool:
    """Whether the program, or where it says nothing the live entry of that name, lets go of what was protected."""
    if old.delete:
        says = program.get(name_of(old))
        in_its_place = [r for r in before if r.urn == old.urn and not r.delete]
        return not says["protect"] if says else bool(in_its_place) and not in_its_place[0].protect
    who = takers(name_of(old), before, program)
    failed = {failure.urn.rpartition("::")[2] for failure in run.result.failures}
    if who and who[0] not in failed:
        return not program[who[0]]["protect"]
    return any(not program[name]["protect"] for name in who)


def check_protected(
    before: list[Resource], after: list[Resource], program: dict[str, Any], run: Run, world: World
) -> None:
    """Whatever was protected and not released by this program has not been deleted, pending or not, and no other has its place;
    retained ones have not been deleted either."""
    for old in before:
        if old.protect and not is_released(old, before, program, run):
            assert old.id not in world.deleted, f"{old.urn} ({old.id}) was protected"
            assert [r for r in after if (r.id, r.delete) == (old.id, old.delete)], (
                f"{old.urn} ({old.id}) lost its place"
            )
        if old.retain_on_delete:
            assert old.id not in world.deleted, f"{old.urn} ({old.id}) was to be retained"


def check_held(before: list[Resource], after: list[Resource], run: Run, world: World) -> None:
    """What the state still holds after the run was not deleted in it, whatever name it had before; nothing was deleted twice; and
    no object that one name held was taken in under another."""
    unknown = {step.urn for step in run.result.steps if step.error is not None and "the provider ended" in step.error}
    for id_ in world.deleted:
        assert world.deleted.count(id_) == 1, f"{id_} was deleted twice"
        still = [r for r in after if r.id == id_ and not (r.delete or r.pending_replacement) and r.urn not in unknown]
        assert not still, f"{id_} was deleted, and {still[0].urn} holds it"
    for step in run.result.steps:
        if step.kind is Kind.IMPORT and step.error is None and step.new is not None:
            others = [r.urn for r in before if r.id == step.new.id and r.urn != step.urn and not r.delete]
            assert not others, f"{step.new.id} is held by {others}, and was imported as {step.urn}"


def check_marks(
    before: list[Resource], after: list[Resource], done: set[tuple[Kind, str]], program: dict[str, Any]
) -> None:
    """What waits for its deletion did so before, or was replaced by a step that came to its end (or to a half-made one)."""
    waited = {(r.urn, r.id) for r in before if r.delete}
    for resource in after:
        if resource.delete and (resource.urn, resource.id) not in waited:
            aliased = {name for name, props in program.items() if props["alias"] == name_of(resource)}
            taken = [
                r for r in after if not r.delete and (r.urn == resource.urn or r.init_errors or name_of(r) in aliased)
            ]
            assert {kind for kind, _ in done} & {Kind.REPLACE, Kind.IMPORT} or taken, resource


def check_origin(before: list[Resource], after: list[Resource], run: Run, objects: set[str]) -> None:
    """Every object of the state was there before, or made, or imported, by this run."""
    known = {r.id for r in before}
    imported = {step.urn for step in run.result.steps if step.kind is Kind.IMPORT}
    for resource in after:
        if resource.id not in known:
            assert resource.id not in objects or resource.urn in imported, resource


def check_refused(before: list[Resource], after: list[Resource], run: Run, program: dict[str, Any]) -> None:
    """Of a resource that a check, a comparison, a look or a rule refused, the state says what it said before, to the letter; unless
    another declaration took its entry over by an alias."""
    words = ("check is refused", "diff is refused", "read is refused", "protected", "would have to be replaced")
    for failure in run.result.failures:
        name = failure.urn.rpartition("::")[2]
        if any(other != name for other in takers(name, before, program)):
            continue
        if (
            "the deletion of" in failure.message
        ):  # only what waits for its deletion was refused; the live one may have changed
            waiting = [r for r in held(failure.urn, before) if r.delete]
            assert [r for r in held(failure.urn, after) if r in waiting] == waiting, failure
        elif failure.urn in run.claimed and any(word in failure.message for word in words):
            assert held(failure.urn, before) == held(failure.urn, after), failure


def held(urn: str, resources: list[Resource]) -> list[Resource]:
    return [r for r in resources if r.urn == urn]
