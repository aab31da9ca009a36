"""Makes what a Terraform registry wants: zips for all platforms, SHA256SUMS, the manifest. `make dist`, or `dist.py --output DIR`.

A zip holds a small sh launcher, our code and the few pure-Python packages it needs, with their .pyc. It runs with the
Python of the machine (3.11 or newer) and says so where there is none. Nothing in it is compiled for one platform, so all
zips have the same content. They come out the same, byte for byte, from the same sources.

    dist/terraform/terraform-provider-spg99_0.1.0_linux_amd64.zip ...
    dist/terraform/terraform-provider-spg99_0.1.0_manifest.json
    dist/terraform/terraform-provider-spg99_0.1.0_SHA256SUMS        sign it: gpg --detach-sign (an RSA key)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from spg99 import __version__
from spg99.bridges.terraform.installation import executable_name, schema_file
from spg99.bridges.terraform.launch import FOR_EVER, SCHEMA_FILE

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "provider" / "spg99"
PLATFORMS = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NEEDED = ("httpx",)
NOT_AT_RUN_TIME = ("documentation", "installation")
MANIFEST = {"version": 1, "metadata": {"protocol_versions": ["6.0"]}}

LOADED = """
import importlib, pkgutil, sys
sys.path[:0] = {paths!r}
import spg99.bridges.terraform, tfplugin
from spg99.prepared import PACKAGE
for room in (spg99.bridges.terraform, tfplugin):
    for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        if found.name.rpartition(".")[2] not in {skipped!r}:
            importlib.import_module(found.name)
for name in ("spg99.bridges.shared.operations", "spg99.bridges.shared.words", "spg99.bridges.shared.background", "spg99.client"):
    importlib.import_module(name)
named = [each.call for each in PACKAGE.functions] + [part for each in PACKAGE.ephemerals for part in (each.open, each.close)]
named += [rule for noun in PACKAGE.nouns for rule in noun.rules]
for name in filter(None, named):
    importlib.import_module(name.partition(":")[0])
print("\\n".join(sorted(m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("spg99", "tfplugin") and m.__file__)))
"""

LAUNCHER = """#!/bin/sh
# Starts the spg99 provider for Terraform and OpenTofu with the Python of this machine; they run this file.
# -I -S: nothing of the user's Python environment. Nothing is ever written here: the lock file's hash stays true.
here=${{0%/*}}
compiled="{compiled}"
caches="${{XDG_CACHE_HOME:-${{HOME:+$HOME/.cache}}}}"
caches="${{caches:+$caches/spg99}}"
cache="$caches/terraform-provider-{version}"
ours() {{ # What Python loads from there runs as this user: nobody else may have put it there.
  case "$caches" in /*) ;; *) return 1 ;; esac
  [ -d "$cache" ] || mkdir -p -m 700 "$cache" 2>/dev/null
  for folder in "$caches" "$cache"; do
    if [ -L "$folder" ] || [ ! -d "$folder" ] || [ ! -O "$folder" ]; then return 1; fi
  done
}}
run() {{ # program, its version
  case " $compiled " in
    *" $2 "*) ;;
    *) if ours; then exec "$1" -I -S -X "pycache_prefix=$cache" "$here/lib/start.py"; fi ;;
  esac
  exec "$1" -I -S -B "$here/lib/start.py"
}}
version_of() {{ "$1" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2]) if sys.version_info >= (3, 11) else None' 2>/dev/null; }}
for name in {names} python3 python; do
  found=$(command -v "$name") || continue
  case "$name:$found" in
    python3.*:*/shims/*|python3:*|python:*) version=$(version_of "$found"); [ -n "$version" ] || continue ;;
    *) version=${{name#python}} ;;
  esac
  run "$found" "$version"
done
# Terraform shows the first line on stdout of what is no handshake, and nothing of stderr.
echo "the spg99 provider needs Python 3.11 or newer on PATH, and there is none ({names}, python3). Install one and try again."
exit 1
"""

START = '''"""Starts the provider from this folder."""
import sys

sys.path.insert(0, __file__.rpartition("/")[0])
try:
    from spg99.bridges.terraform.launch import main
except ImportError as missing:
    print(f"the spg99 provider cannot start: {missing}. Its package is damaged; run terraform init again.")
    sys.exit(1)
main(__file__.rpartition("/")[0] + "/schema.bin")
'''


def main() -> int:
    """Makes everything."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=Path, default=ROOT / "dist" / "terraform")
    arguments.add_argument("--platform", action="append", choices=PLATFORMS, help="may be repeated; default: all")
    chosen = arguments.parse_args()
    for path in build(chosen.output, tuple(chosen.platform or PLATFORMS)):
        print(path)
    return 0


def build(output: Path, platforms: tuple[str, ...] = PLATFORMS) -> list[Path]:
    """Writes zips, manifest and checksums into a folder, which is emptied of older ones; answers their paths."""
    output.mkdir(parents=True, exist_ok=True)
    stem = f"terraform-provider-spg99_{__version__}"
    for old in output.glob("terraform-provider-spg99_*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "package"
        lay(tree)
        first, *others = (output / f"{stem}_{platform}.zip" for platform in platforms)
        pack(tree, first)
        for other in others:
            shutil.copyfile(first, other)
    manifest = output / f"{stem}_manifest.json"
    manifest.write_text(json.dumps(MANIFEST, indent=2) + "\n")
    made = [first, *others, manifest]
    sums = output / f"{stem}_SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made)))
    return [*made, sums]


def lay(tree: Path) -> None:
    """Lays the package's files into a folder."""
    lib = tree / "lib"
    lib.mkdir(parents=True)
    for path in own_files():
        copy(path, lib / path.relative_to(PACKAGE.parent))
    for name, path in needed_files():
        copy(path, lib / name)
    (lib / "start.py").write_text(START)
    (lib / SCHEMA_FILE).write_bytes(schema_file(FOR_EVER))
    compiled = [version for version in PYTHONS if compile_with(version, lib)]
    names = " ".join(f"python{version}" for version in (*compiled, *(v for v in PYTHONS if v not in compiled)))
    text = LAUNCHER.format(compiled=" ".join(compiled), names=names, version=__version__)
    executable = tree / executable_name(__version__)
    executable.write_text(text)
    executable.chmod(0o755)
    shutil.copyfile(ROOT / "LICENSE", tree / "LICENSE")


def own_files() -> list[Path]:
    """The modules of ours that a provider process can ever load."""
    site = str(Path(metadata.distribution("httpx").locate_file("")))
    code = LOADED.format(paths=[str(PACKAGE.parent), site], skipped=NOT_AT_RUN_TIME)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def needed_files() -> list[tuple[str, Path]]:
    """Files of the packages that ours needs, with those that they need; fails when one is not pure Python."""
    names, found = list(NEEDED), dict[str, metadata.Distribution]()
    while names:
        name = names.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # wanted by other Pythons only
        for line in found[name].requires or ():
            if "extra ==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line)):
                names.append(match[0].lower())
    files = []
    for name, distribution in sorted(found.items()):
        for file in distribution.files or ():
            if file.suffix in (".so", ".pyd", ".dylib"):
                raise SystemExit(f"{name} is not pure Python ({file}): the zips would not fit every platform")
            if ".." in file.parts or file.suffix == ".pyc" or file.name in ("RECORD", "INSTALLER", "REQUESTED"):
                continue
            files.append((str(file), Path(str(file.locate()))))
    return files


def copy(source: Path, target: Path) -> None:
    """Copies a file, making its folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def compile_with(version: str, lib: Path) -> bool:
    """Compiles for one version of Python, where this machine has it. Without .pyc each start would take half a second longer."""
    program = (
        sys.executable
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}"
        else shutil.which(f"python{version}")
    )
    if program is None:
        return False
    # The time of a file changes when a zip is unpacked, so the .pyc must not depend on it.
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(lib), "-p", "lib", str(lib)]
    try:
        done = subprocess.run([program, "-I", "-m", "compileall", *options], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def pack(tree: Path, target: Path) -> None:
    """One zip, the same bytes from the same files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(each for each in tree.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(tree)), date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # so that the bits below count
            entry.external_attr = (0o100755 if path.stat().st_mode & 0o100 else 0o100644) << 16
            archive.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
