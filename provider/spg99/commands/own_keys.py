"""After an API key was rotated or revoked: whether this command, or the dev of this machine, lives by just that one, and what to do
then. Not here: rotating (actions.py), revoking (verbs.py), a key for an owner who has none left (recover.py)."""

from __future__ import annotations

import os
import shlex

import click

from spg99.commands.connection import Connection, ask
from spg99.errors import Spg99Error, Unauthorized, Unavailable
from spg99.reach import ClientSettings

ASK_SECONDS = 5.0


def say_what_follows(connection: Connection, settings: ClientSettings, *, rotated: bool) -> None:
    """Says on stderr which of the keys that are in use here are refused now, and where another goes. `settings`: what the command
    went by. A Control Plane that cannot answer at this moment, or an old token within its grace, is nothing to speak of."""
    new = "the new token" if rotated else "that of another key"
    mine = is_refused(settings)
    if mine and (place := _place(connection, settings.api_key)):
        click.echo(f"{place} held this very key, which is refused from now on: put {new} there.", err=True)
    folder = connection.folder()
    try:
        if folder.running().cp_url != settings.cp_url:
            return
        kept = folder.admin_key()
    except Unavailable:
        return
    if mine if kept == settings.api_key else is_refused(ClientSettings(settings.cp_url, kept, settings.ca_file)):
        click.echo(
            f"{folder.admin_key_file} holds a key that is refused, so `spg99 env` prints nothing: write {new} into it, or "
            f"`spg99 keys recover --data-dir {shlex.quote(str(folder.data_dir))}` puts a new admin key there.",
            err=True,
        )


def is_refused(settings: ClientSettings) -> bool:
    """Whether the Control Plane knows this key not (any more). False where it cannot be asked."""
    try:
        ask(settings, lambda client: client.call("GET", "/account"), timeout_seconds=ASK_SECONDS, max_attempts=2)
    except Unauthorized:
        return True
    except Spg99Error:
        return False
    return False


def _place(connection: Connection, api_key: str) -> str | None:
    """Where the command found its key; None: in the data folder of a dev."""
    if connection.api_key == api_key:
        return "--api-key or SPG99_API_KEY" if os.environ.get("SPG99_API_KEY") == api_key else "--api-key"
    return next((name for name in ("SPG99_API_KEY", "SPG99_TOKEN") if os.environ.get(name) == api_key), None)
