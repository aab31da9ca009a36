"""The object store: whole objects under keys, one contract. Here: what every implementation promises. Not here: what the objects
are (images/), who may have them.

    store = open_store("/var/lib/spg99/objects")           # or s3://bucket/path, gs://bucket/path, az://account/container/path
    await require_installation(store, installation_id)     # its id; the first one claims it, another is refused

    await store.put(key, content)                -> tag                whatever was there is replaced
    await store.put_if_absent(key, content)      -> tag | None         None: something is there, and stays
    await store.put_if_tag(key, content, tag)    -> tag                PreconditionFailed: it has changed since it was read
    await store.put_contents({key: content})     -> None               many at once, each key the name of its content
    await store.get(key)                         -> Stored(content, tag)
    await store.get_range(key, first, length)    -> bytes
    await store.head(key)                        -> Entry | None
    store.entries(prefix, after=key)                -> AsyncIterator[Entry], in the order of keys
    await store.delete(key)                      -> None               absent = success
    await store.close()

Every write is whole or not there, and lasts through a power cut when it returns. Errors are of spg99.errors:

    NotFound             nothing is under this key (get, get_range)
    PreconditionFailed   somebody else has written since (put_if_tag)
    StoreUnavailable     does not answer, for longer than a request is tried again; retry. Whether a write took place is not known: read
    StoreFull            no room; retry when there is
    BadRequest           not a key (`checked_key`)
"""

from spg99.objects.contract import Entry, ObjectStore, Stored, checked_key
from spg99.objects.folder import FolderStore
from spg99.objects.installation import installation_of, require_installation
from spg99.objects.places import open_store

__all__ = [
    "Entry",
    "FolderStore",
    "ObjectStore",
    "Stored",
    "checked_key",
    "installation_of",
    "open_store",
    "require_installation",
]
