"""What an image is: a timeline's files at one LSN, as a manifest of chunks. Here: cutting one from a stopped folder, storing it, laying it
out. Not here: when that is done and by whom (node/, pageserver/), where objects lie (objects/).

    keys = await open_keys(store, path)                       # a data key a tenant, wrapped by the master key in this file
    key = await keys.get_or_make(tenant_id)                   # keys.get(tenant_id): NotFound once it was destroyed
    origin = Origin(tenant_id, timeline_id, writer_term)

    image = await build(data_dir, origin, objects, key, known=known)              # at a clean stop; `known`: what has not changed is not read
    image.known.save(path)                                                         # beside the folder, for the next one
    known = Known.load(path)                                                       # None: there is none, all is read

    known = await lay_out(manifest, objects, key, data_dir, account)              # whole or not there
    manifest = await load_manifest(objects, key, image.key)
    object_key = await latest_image(objects, tenant_id, timeline_id)              # None: there is none

A folder that was just copied from a template, PostgreSQL is about to start on it (image number 0):

    seen = see(template_dir)                                                       # once per template; all tenants
    captured = capture(data_dir, seen, is_copy=True)                               # in a thread, some ms; PostgreSQL may start when it returns
    base = await template_manifest(template_dir, name, objects, key)               # once per tenant; then from the store or memory
    image = await store(captured, origin, objects, key, base=base)                 # beside the start

Errors: Conflict (the cluster runs, was killed, or was started meanwhile), BadRequest (tablespaces; a folder in the way), Damaged
(a chunk, manifest or control file that is not what was written, or is missing), Forbidden (another tenant's or installation's key), and those of
objects/. Whoever gets one has nothing: no folder was laid out, no manifest was stored.

Chunks are named by a hash keyed with the tenant's key: equal chunks of all databases of one tenant are stored once, those of two
tenants twice, and nobody learns from a name what a chunk holds.
"""

from spg99.images.build import Image, build, store, template_manifest
from spg99.images.capture import Captured, capture
from spg99.images.folder_state import Seen, see
from spg99.images.keys import TenantKey, TenantKeys, tenants_in
from spg99.images.known import Known
from spg99.images.lay_out import lay_out
from spg99.images.manifest import Manifest, Origin, latest_image, load_manifest
from spg99.images.master_keys import KeyService, MasterKeyFile
from spg99.images.rotation import Rotation, forget_former, open_keys, rotate

__all__ = [
    "Captured",
    "Image",
    "KeyService",
    "Known",
    "Manifest",
    "MasterKeyFile",
    "Origin",
    "Rotation",
    "Seen",
    "TenantKey",
    "TenantKeys",
    "build",
    "capture",
    "forget_former",
    "latest_image",
    "lay_out",
    "load_manifest",
    "open_keys",
    "rotate",
    "see",
    "store",
    "template_manifest",
    "tenants_in",
]
