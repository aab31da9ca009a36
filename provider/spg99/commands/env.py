"""`spg99 env`: how to reach the running dev, as lines for the shell. Not here: what clients do with them (config.py)."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from spg99.commands.dev_folder import DevFolder
from spg99.commands.own_keys import is_refused
from spg99.errors import Unauthorized
from spg99.reach import CA_FILE_VARIABLE, ClientSettings, default_data_dir


@click.command("env")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), envvar="SPG99_DATA_DIR", show_envvar=True, help="Folder of the dev."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of shell lines.")
def env(data_dir: Path | None, as_json: bool) -> None:
    """Prints the variables of the `spg99 dev` that runs in the data folder.

    Use it as `eval "$(spg99 env)"`. It prints the admin key: do not log its output.
    """
    folder = DevFolder(data_dir or default_data_dir())
    values = variables(folder)
    refuse_a_dead_key(folder, values)
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def refuse_a_dead_key(folder: DevFolder, values: dict[str, str]) -> None:
    """Raises Unauthorized, with the way out, when the running dev does not know the admin key any more. A dev that cannot
    answer at this moment proves nothing."""
    settings = ClientSettings(values["SPG99_CP_URL"], values["SPG99_API_KEY"], values.get(CA_FILE_VARIABLE))
    if is_refused(settings):
        raise Unauthorized(
            f"The admin key in {folder.admin_key_file} is refused, so nothing is printed: it was rotated or revoked, has expired, or never was one. Write the token "
            "that the rotation showed into that file, or "
            f"`spg99 keys recover --data-dir {shlex.quote(str(folder.data_dir))}` makes a new one."
        )


def variables(folder: DevFolder) -> dict[str, str]:
    """What a client of the running dev needs in its environment."""
    state = folder.running()
    found = {
        "SPG99_CP_URL": state.cp_url,
        "SPG99_API_KEY": folder.admin_key(),
        "SPG99_GATEWAY": f"{state.gateway_host}:{state.gateway_port}",
    }
    for name, file in (
        ("SPG99_CA_FILE", state.api_ca_file),
        ("PGSSLROOTCERT", state.ca_file),
        ("NODE_EXTRA_CA_CERTS", state.ca_bundle_file),
    ):
        if file is not None:
            found[name] = str(file)
    return found
