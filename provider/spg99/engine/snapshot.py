"""The state while a run changes it. Here: what is old, new and in flight, and writing it down. Not here: file formats.

Merged state = resources done in this run, in the order they ended, then what is left of the old ones in their old order: a
valid order of dependencies at every moment (a resource ends after what it needs, and what stays old needs only old or new).

Writes are grouped: whoever waits for a write that has not begun shares it, so that 64 creates in flight cost one write, not
64. Each resource is encoded once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence

from spg99.engine.backend import StackFile
from spg99.engine.crypt import Crypter
from spg99.engine.entries import Entries
from spg99.engine.state import Deployment, Operation, Resource, copy, dump_resource, manifest
from spg99.engine.urns import with_parent
from spg99.errors import Spg99Error


class Snapshot:
    """State of a stack during one run. Every method may be called from any thread."""

    def __init__(self, base: Deployment, crypter: Crypter, target: StackFile | None) -> None:
        """`target` None writes nothing: a preview."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._crypter = crypter
        self._target = target
        self.before = Entries(base.resources)
        """Those with which the run began."""
        self._base = list(base.resources)
        self._entries = Entries(self._base)
        self._new: dict[int, Resource] = {}
        self._gone: set[int] = set()
        self._pending: dict[int, Operation] = {}
        self._unresolved = list(base.operations)
        self._renamed: dict[str, str] = {}
        self._secrets_provider = base.secrets_provider
        self._extra = base.extra
        self._encoded: dict[int, tuple[Resource, bytes]] = {}
        self._wanted = 0
        self._written = 0
        self._writing = False
        self._failed = 0
        self._failure: Spg99Error | None = None

    def begin(self, operation: str, resource: Resource) -> None:
        """Records that an operation begins; returns when that is on disk. Raises Unauthorized before anything is done when
        what comes out of it could not be encrypted."""
        if self._target is not None:
            self._crypter.check()
        with self._lock:
            self._pending[id(resource)] = Operation(resource, operation)
        try:
            self._write()
        except Spg99Error:
            with self._lock:
                del self._pending[id(resource)]  # what cannot be noted is not begun
            raise

    def end(
        self,
        begun: Resource | None = None,
        *,
        done: Resource | None = None,
        instead_of: Resource | None = None,
        marked: tuple[Resource, Resource] | None = None,
        write: bool = True,
    ) -> None:
        """Records what became of an operation: `done` is now there, `instead_of` no more. Returns when it is on disk.

        `marked` is a resource and how it looks from now on, in the same place: one that waits for its deletion, say. All of
        it is one change: no file that is written ever holds half of it.
        """
        with self._lock:
            if begun is not None:
                self._pending.pop(id(begun), None)
            if marked is not None:
                self._put_in_place(*marked)
            before = instead_of or (marked[0] if marked is not None else None)
            if before is not None and done is not None and before.urn != done.urn:
                self._renamed[before.urn] = (
                    done.urn
                )  # an alias: everything old that refers to it means the new name now
            if instead_of is not None:
                self._drop(instead_of)
            if done is not None:
                self._new[id(done)] = done
                self._entries.add(done)
            known = {r.urn for r in (before, done) if r is not None}
            # One that merely stays as it was says nothing of another that was being made under its name.
            stays = begun is None and instead_of is not None
            self._unresolved = [
                op for op in self._unresolved if op.resource.urn not in known or (stays and op.type == "creating")
            ]
        if write:
            self._write()

    def leave_open(self, begun: Resource) -> None:
        """Nobody knows how the operation ended: its note stays, for the next run to tell and to settle."""
        with self._lock:
            operation = self._pending.pop(id(begun))
            self._unresolved.append(operation)

    def rewrite(self, resources: Iterable[Resource]) -> None:
        """The whole state is now this list (after a refresh)."""
        with self._lock:
            self._base, self._new, self._gone = list(resources), {}, set()
            self._entries = Entries(self._base)

    def unresolved(self) -> list[Operation]:
        """Operations whose end nobody knows: what they made may exist."""
        with self._lock:
            return list(self._unresolved)

    def keep_unresolved(self, operations: Sequence[Operation]) -> None:
        """Only these are still open; of the others it is known what became of them."""
        with self._lock:
            self._unresolved = list(operations)

    def resources(self) -> list[Resource]:
        """The merged state."""
        with self._lock:
            return self._merged()

    def entries_of(self, type_: str, id_: str) -> list[Resource]:
        """Those of the merged state with this type and id, in its order."""
        with self._lock:
            found = self._entries.of(type_, id_)
            if len(found) < 2:
                return found
            return [r for r in self._merged() if (r.type, r.id) == (type_, id_)]

    @property
    def has_secrets(self) -> bool:
        """Whether anything in it is encrypted, as far as it was written."""
        return self._secrets_provider is not None

    def save(self) -> None:
        """Writes the state as it is now."""
        self._write()

    def _put_in_place(self, old: Resource, changed: Resource) -> None:
        if self._entries.remove(old):
            self._entries.add(changed)
        if id(old) in self._new:
            self._new = {id(r): r for r in (changed if r is old else r for r in self._new.values())}
        else:
            self._base = [changed if r is old else r for r in self._base]

    def _drop(self, resource: Resource) -> None:
        self._entries.remove(resource)
        if self._new.pop(id(resource), None) is None:
            self._gone.add(id(resource))

    def _merged(self) -> list[Resource]:
        return [*self._new.values(), *(r for r in self._base if id(r) not in self._gone)]

    def _write(self) -> None:
        """Waits until a write that began after this call has ended. Raises what kept the state from being written."""
        if self._target is None:
            return
        with self._changed:
            self._wanted += 1
            mine = self._wanted
            while self._writing and self._written < mine and self._failed < mine:
                self._changed.wait()
            if self._written >= mine:
                return
            if self._failure is not None and self._failed >= mine:
                raise self._failure
            self._writing = True
            covers = self._wanted
            content = self._encode()
        failure: Spg99Error | None = None
        try:
            self._target.write(content)
        except Spg99Error as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._writing = False
                if failure is None:
                    self._written = covers
                else:
                    self._failed, self._failure = covers, failure
                self._changed.notify_all()

    def _encode(self) -> bytes:
        resources = self._merged()
        operations = [*self._pending.values(), *self._unresolved]
        encoded = b",".join(self._encoded_resources(resources))
        pending = b",".join(
            b'{"resource":%b,"type":%b}' % (self._encode_resource(op.resource), json.dumps(op.type).encode())
            for op in operations
        )
        # asked for only when something was encrypted: a stack without secrets needs no passphrase
        if self._secrets_provider is None and (b'"ciphertext":' in encoded or b'"ciphertext":' in pending):
            self._secrets_provider = {"type": "passphrase", "state": {"salt": self._crypter.salt_text()}}
        parts = [b'"manifest":' + _json(manifest())]
        if self._secrets_provider is not None:
            parts.append(b'"secrets_providers":' + _json(self._secrets_provider))
        if resources:
            parts.append(b'"resources":[' + encoded + b"]")
        if operations:
            parts.append(b'"pending_operations":[' + pending + b"]")
        parts += [_json(key) + b":" + _json(value) for key, value in ({"metadata": {}} | self._extra).items()]
        return b"{" + b",".join(parts) + b"}"

    def _encode_resource(self, resource: Resource) -> bytes:
        known = self._encoded.get(id(resource))
        if known is None:
            # the object is kept with its text, so its id stays its own
            known = self._encoded[id(resource)] = (resource, _json(dump_resource(resource, self._crypter.encrypt)))
        return known[1]

    def _encoded_resources(self, resources: list[Resource]) -> Iterator[bytes]:
        """Every resource's text; URNs that an alias renamed are rewritten in whatever is still old."""
        renamed = dict(self._renamed)
        if not renamed:
            known = self._encoded
            for resource in resources:
                done = known.get(id(resource))
                yield done[1] if done is not None else self._encode_resource(resource)
            return
        for resource in resources:
            if id(resource) in self._new or not (resource.needs() | {resource.urn}) & renamed.keys():
                yield self._encode_resource(resource)
                continue
            parent = renamed.get(resource.parent, resource.parent)
            if parent != resource.parent and resource.urn not in renamed:
                renamed[resource.urn] = with_parent(resource.urn, parent)
            yield _json(dump_resource(_referring_to(resource, renamed), self._crypter.encrypt))


def _referring_to(resource: Resource, renamed: dict[str, str]) -> Resource:
    def fix(urn: str) -> str:
        return renamed.get(urn, urn)

    provider_urn, separator, provider_id = resource.provider.rpartition("::")
    return copy(
        resource,
        urn=resource.urn if resource.delete else fix(resource.urn),
        parent=fix(resource.parent),
        dependencies=[fix(urn) for urn in resource.dependencies],
        property_dependencies={key: [fix(u) for u in urns] for key, urns in resource.property_dependencies.items()},
        deleted_with=fix(resource.deleted_with),
        provider=fix(provider_urn) + separator + provider_id,
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
