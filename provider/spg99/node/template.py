"""The cluster that every new timeline is a copy of, and the extensions beside it. Made once per PostgreSQL version."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from spg99 import log
from spg99.atomic_write import sync_file_system, sync_folder, write_if_changed
from spg99.errors import BadRequest
from spg99.node.access import TEMPLATE_REVISION, TEMPLATE_SQL
from spg99.node.folder import NodeFolder
from spg99.node.profiles import TENANT_RULES_NAME
from spg99.postgres import Account, Binaries, Cluster
from spg99.postgres.accounts import make_folder
from spg99.postgres.locks import locked

MAJOR_MIN = 18
"""extension_control_path and io_method came with 18."""
EXTENSIONS = ("vector",)
"""Extensions a tenant may create though they hold C code: code of the build, not of the tenant."""
TENANT_RULES = Path(__file__).with_name(TENANT_RULES_NAME)
"""Built at set-up by provider/tenant_rules/build, for PostgreSQL 18, where there is a C compiler."""

_log = log.get("agent")


def require_version(binaries: Binaries) -> None:
    """Raises BadRequest when computes cannot run on these programs."""
    if binaries.major < MAJOR_MIN:
        raise BadRequest(
            f"Databases need PostgreSQL {MAJOR_MIN} or newer; {binaries.bin_dir} holds {binaries.version}. "
            "Leave out --pg-bin to use the one that comes with spg99."
        )


async def prepare_template(folder: NodeFolder, binaries: Binaries, account: Account | None) -> Path:
    """The template's data folder; made if it is not there yet (half a second)."""
    make_folder(folder.template_dir, mode=0o755)
    home = folder.template_dir / f"{binaries.version}-{TEMPLATE_REVISION}"
    async with locked(folder.template_dir / "lock"):
        if not home.exists():
            draft = folder.template_dir / f".draft-{home.name}"
            shutil.rmtree(draft, ignore_errors=True)
            make_folder(draft, mode=0o755, durable=False)
            cluster = Cluster(draft / "pgdata", folder.run_dir / "template", binaries, account)
            # Without segments kept for later the template, and with it every sleeping database, is 6 MB smaller.
            await cluster.init({"wal_recycle": "off", "min_wal_size": "2MB"})
            await cluster.single_user(TEMPLATE_SQL)
            draft.rename(home)  # its content lasts since single_user
            sync_folder(home.parent)
    return home / "pgdata"


def prepare_extensions(folder: NodeFolder, binaries: Binaries, *, tenant_rules: Path = TENANT_RULES) -> Path:
    """A folder for extension_control_path: control files and scripts of `EXTENSIONS`, marked trusted; and the library with
    a tenant's rules, which every compute loads from here.

    The build's own control files stay as they are: they may be shared, and are not ours to change. Another build gets
    another folder, because computes that run keep theirs.
    """
    source = binaries.extension_dir()
    controls = {name: source / f"{name}.control" for name in EXTENSIONS} if source is not None else {}
    texts = {name: path.read_text() for name, path in controls.items() if path.is_file()}
    library = tenant_rules.read_bytes() if binaries.major == MAJOR_MIN and tenant_rules.is_file() else b""
    if not library:
        _log.warning("no library of tenant rules: a password changed by ALTER ROLE will be accepted without effect")
    key = hashlib.sha256("\n".join(texts.values()).encode() + library).hexdigest()[:8]
    home = folder.extensions_dir / f"{binaries.version}-{key}"
    make_folder(home / "extension", mode=0o755)
    files = {Path("extension", f"{name}.control"): trusted(text).encode() for name, text in texts.items()}
    for name in texts:
        for script in controls[name].parent.glob(f"{name}--*.sql"):
            files[Path("extension", script.name)] = script.read_bytes()
    if library:
        files[Path(TENANT_RULES_NAME)] = library
    # Each start looks into each file: with an empty library, as a power cut may leave it, no database starts.
    written = [
        write_if_changed(home / name, content, mode=0o755 if name.suffix == ".so" else 0o644, durable=False)
        for name, content in files.items()
    ]
    if any(written):
        sync_file_system(home)
        sync_folder(folder.extensions_dir)
    return home


def trusted(control: str) -> str:
    """A control file that lets the owner of a database create the extension."""
    lines = [line for line in control.splitlines() if not re.match(r"\s*trusted\s*=", line)]
    return "\n".join([*lines, "trusted = true", ""])
