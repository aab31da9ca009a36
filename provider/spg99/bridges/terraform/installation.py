"""The provider as files that Terraform and OpenTofu install from: a file-system mirror, and the lines that name it.

Here: layout, launcher, configuration text. Not here: archives for a registry (scripts/dist.py), the provider itself.
What is laid down is a small launcher and the prepared schema; the code stays where Python keeps it, so nothing is ever
written beside them and the hash in `.terraform.lock.hcl` stays true.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path

from spg99.atomic_write import make_folders, write_if_changed
from spg99.bridges.terraform.launch import SCHEMA_FILE, sources_now

SOURCE = "spg99/spg99"
REGISTRIES = {"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i686": "386", "armv7l": "arm"}
SHEBANG_BYTES_MAX = 120
"""Linux cuts a longer first line."""

_BODY = '''"""Starts the spg99 provider for Terraform and OpenTofu, which run this file; it does nothing by hand."""
import sys

sys.path[:0] = {paths!r}
try:
    from spg99.bridges.terraform.launch import main
except ImportError as missing:
    # Terraform shows the first line of what is no handshake, and nothing of stderr.
    print(f"the spg99 provider cannot start: {{missing}}. Install spg99 again, then run: spg99 terraform install")
    sys.exit(1)
main(__file__.rpartition("/")[0] + "/{schema}")
'''


def platform_name(system: str = sys.platform, machine: str | None = None) -> str:
    """This machine as Terraform names it: `linux_amd64`."""
    machine = (machine or platform.machine()).lower()
    return f"{'linux' if system.startswith('linux') else system}_{MACHINES.get(machine, machine)}"


def default_mirror(home: Path | None = None) -> Path:
    """The folder in which Terraform and OpenTofu look without being told."""
    return (home or Path.home()) / ".terraform.d" / "plugins"


def executable_name(version: str) -> str:
    """The name that Terraform looks for."""
    return f"terraform-provider-spg99_v{version}"


def launcher(python: Path = Path(sys.executable), paths: list[str] | None = None) -> str:
    """The executable's text. `-I -S`: nothing of the user's environment and no .pth files, which cost a start its time."""
    body = _BODY.format(paths=paths if paths is not None else _paths(), schema=SCHEMA_FILE)
    line = f"#!{python} -IS\n"
    if len(line.encode()) <= SHEBANG_BYTES_MAX and " " not in str(python):
        return line + body
    return f"#!/bin/sh\n'''exec' '{python}' -IS \"$0\" \"$@\"\n' '''\n" + body


def install(mirror: Path, version: str, *, names: tuple[str, ...] = ("terraform", "tofu")) -> list[Path]:
    """Lays the provider into a mirror, for these tools. What is there already and the same is left alone."""
    content = {executable_name(version): launcher().encode(), SCHEMA_FILE: schema_file(sources_now())}
    written = []
    for name in names:
        folder = mirror / REGISTRIES[name] / SOURCE / version / platform_name()
        make_folders(folder)
        written.append(folder / executable_name(version))
        for file, raw in content.items():
            # Outside of the package: a draft in it would change its hash.
            write_if_changed(folder / file, raw, mode=0o644 if file == SCHEMA_FILE else 0o755, draft_folder=mirror)
    return written


def schema_file(made_from: bytes) -> bytes:
    """The prepared schema as a file: from which sources it was made, and the answer to GetProviderSchema."""
    from spg99.bridges.terraform.provider import load

    return made_from + b"\n" + load().schema_bytes()


def cli_configuration(mirror: Path) -> str:
    """Lines for the command line's configuration file that take our provider from this mirror and all others as before."""
    includes = ", ".join(f'"{registry}/{SOURCE}"' for registry in REGISTRIES.values())
    return (
        "provider_installation {\n"
        f'  filesystem_mirror {{\n    path    = "{mirror}"\n    include = [{includes}]\n  }}\n'
        f"  direct {{\n    exclude = [{includes}]\n  }}\n"
        "}\n"
    )


def required_providers(version: str) -> str:
    """Lines for a configuration that uses the provider."""
    return (
        "terraform {\n  required_providers {\n"
        f'    spg99 = {{\n      source  = "{SOURCE}"\n      version = "{version}"\n    }}\n  }}\n}}\n'
    )


def _paths() -> list[str]:
    """Where our code and what it needs are found, without what Python finds by itself."""
    ours = str(Path(__file__).resolve().parents[3])
    found = [ours, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(path for path in found if path))
