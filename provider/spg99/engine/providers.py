"""Which provider serves what. Here: provider resources, and their processes while a run lasts. Not here: the protocol (provider.py)."""

from __future__ import annotations

import re
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

from spg99.engine.children import Attached, Child
from spg99.engine.decide import Kind
from spg99.engine.failure import StepFailed
from spg99.engine.plugins import attached_port, command_of
from spg99.engine.project import package_config
from spg99.engine.provider import Provider
from spg99.engine.run import Run
from spg99.engine.state import Resource, copy, now
from spg99.engine.urns import (
    PROVIDER_PREFIX,
    is_default_provider,
    is_provider,
    make,
    package_of,
    split_reference,
)
from spg99.engine.values import UNKNOWN, Props


class Providers:
    """Provider processes of a run: each started when it is first needed, and ended together."""

    def __init__(self, run: Run, engine_address: str, packages: set[tuple[str, str]]) -> None:
        """`packages` are those that earlier runs needed; those of this one are added."""
        self._run = run
        self._packages = packages
        self._warm: dict[tuple[str, str], Future[Provider]] = {}
        self._warming = ThreadPoolExecutor(4, thread_name_prefix="warm")
        self.address = engine_address
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._running: dict[str, Provider] = {}
        self._known = {r.reference: r for r in run.snapshot.resources() if is_provider(r.type)}

    def default_for(self, type_: str, version: str = "", url: str = "") -> str:
        """The reference of a package's default provider, which is made if it is not there."""
        package = package_of(type_)
        name = "default" + "".join(f"_{re.sub(r'[^A-Za-z0-9]', '_', part)}" for part in (version, url) if part)
        urn = make(self._run.stack, self._run.project.name, PROVIDER_PREFIX + package, name)
        with self._lock_of(urn):
            if (ready := self._run.registered.get(urn)) is not None:
                return ready.reference
            inputs: Props = package_config(self._run.config, package)
            if version:
                inputs["version"] = version
            if url:
                inputs["__internal"] = {"pluginDownloadURL": url}
            wanted = Resource(urn, PROVIDER_PREFIX + package, inputs=inputs)
            return self.settle(wanted, self._run.olds.get(urn)).reference

    def settle(self, wanted: Resource, old: Resource | None) -> Resource:
        """Brings a provider resource into the state as the program (or the configuration) wants it now."""
        run, urn = self._run, wanted.urn
        provider = self._start(wanted)
        try:
            inputs = provider.check_config(urn, old.inputs if old else {}, wanted.inputs)
            kind = Kind.CREATE
            keys: tuple[str, ...] = ()
            if old is not None:
                kind = Kind.SAME if inputs == old.inputs else Kind.UPDATE
                difference = provider.diff_config(urn, old, inputs) if kind is Kind.UPDATE else None
                if difference is not None and difference.replaces:
                    kind, keys = Kind.REPLACE, difference.replaces
            keeps_id = old is not None and kind is not Kind.REPLACE
            # In a preview a provider yet to be made has no id that anybody could use.
            id_ = old.id if keeps_id and old else "" if run.dry_run else str(uuid.uuid4())
            new = copy(
                wanted,
                id=id_,
                inputs=inputs,
                outputs={key: value for key, value in inputs.items() if key != "__internal"},
                created=old.created if old else now(),
                modified=old.modified if old and kind is Kind.SAME else now(),
            )
            with run.step(kind, urn, begins=kind is not Kind.SAME) as outcome:
                outcome.old, outcome.new, outcome.replace_keys = old, new, keys
                provider.configure(urn, id_, inputs)
        except BaseException:
            provider.kill()
            raise
        if old is not None and kind is Kind.SAME and _same_options(old, new):
            new = old
        marked = None
        if old is not None and kind is Kind.REPLACE:
            going = run.superseded(old, protect=wanted.protect, retain_on_delete=wanted.retain_on_delete)
            self._known[going.reference] = going
            marked, old = (old, going), None
            run.replaced.add(urn)
        with run.lock:
            run.registered[urn] = new
            run.dirty |= new is not old
        self._known[new.reference] = new
        with self._lock:
            former, self._running[new.reference] = self._running.get(new.reference), provider
        if former is not None:  # it was asked about an interrupted run before the program said how it wants it
            former.close()
        run.snapshot.end(done=new, instead_of=old, marked=marked, write=False)
        return new

    def get(self, reference: str) -> Provider:
        """The running provider of a reference. Raises StepFailed."""
        urn, id_ = split_reference(reference)
        if id_ in (UNKNOWN, ""):
            reference = f"{urn}::"
        with self._lock_of(reference):
            if (running := self._running.get(reference)) is not None:
                return running
            resource = self._known.get(reference)
            if resource is None:
                raise StepFailed(f"Its provider {reference} is neither in the program nor in the state.")
            inputs = resource.inputs
            if is_default_provider(urn):
                # as it is configured today: a key may have been exchanged since
                inputs = inputs | package_config(self._run.config, package_of(resource.type))
            provider = self._start(resource)
            try:
                provider.configure(urn, resource.id, inputs)
            except BaseException:
                provider.kill()
                raise
            with self._lock:
                self._running[reference] = provider
            return provider

    def resource(self, reference: str) -> Resource | None:
        """The provider resource of a reference."""
        return self._known.get(reference)

    def warm_up(self) -> None:
        """Starts the processes that the program will probably need, while it is itself still starting."""
        used = {r.provider for r in self._run.olds.values() if r.managed}
        for reference in used & self._known.keys():
            self._packages.add(_package_and_version(self._known[reference]))
        for key in self._packages:
            self._warm[key] = self._warming.submit(self._launch, *key)

    def _start(self, wanted: Resource) -> Provider:
        """A process for a provider resource: the one that is warm, else a new one."""
        key = _package_and_version(wanted)
        self._packages.add(key)
        with self._lock:
            warm = self._warm.pop(key, None)
        return warm.result() if warm is not None else self._launch(*key)

    def _launch(self, package: str, version: str) -> Provider:
        run = self._run
        child: Child | Attached
        if port := attached_port(package, run.environment):
            child = Attached(port)
            return Provider(package, child, self.address, str(run.project.root), run.note_call)
        environment = run.environment | {"PULUMI_PROJECT": run.project.name, "PULUMI_STACK": run.stack}
        command = command_of(package, version, run.project, run.environment)
        child = Child([*command, self.address], cwd=run.project.root, environment=environment)
        return Provider(package, child, self.address, str(run.project.root), run.note_call)

    def _lock_of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def cancel(self) -> None:
        """Asks every provider to give up waiting."""
        with self._lock:
            running = list(self._running.values())
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(Provider.cancel, running))

    def close(self) -> None:
        """Ends all processes."""
        self._warming.shutdown()
        with self._lock:
            running, self._running = list(self._running.values()), {}
            warm, self._warm = list(self._warm.values()), {}
        for unused in warm:
            if unused.exception() is None:
                unused.result().kill()
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(Provider.close, running))

    def kill(self) -> None:
        """Ends all processes at once."""
        for provider in list(self._running.values()):
            provider.kill()


def _package_and_version(provider: Resource) -> tuple[str, str]:
    version = provider.inputs.get("version")
    return package_of(provider.type), version if isinstance(version, str) and version != UNKNOWN else ""


def _same_options(old: Resource, new: Resource) -> bool:
    return copy(new, created=old.created, modified=old.modified, extra=old.extra) == old
