"""`spg99 doctor`: how this machine and the Control Plane look, each with what to do. Not here: the checks (checks.py)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from spg99.reach import default_data_dir

_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="SPG99_DATA_DIR", help="Data folder to look at.")
@click.option(
    "--pg-bin", type=click.Path(path_type=Path), envvar="SPG99_PG_BIN", help="PostgreSQL programs to look at."
)
@click.option("--run-as", envvar="SPG99_RUN_AS", help="User that runs PostgreSQL when this is root.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
def doctor(data_dir: Path | None, pg_bin: Path | None, run_as: str | None, as_json: bool) -> int:
    """Checks Python, PostgreSQL, accounts, folders, ports, Control Plane, Gateway, Pulumi and Terraform.

    Changes nothing. Ends with 1 when something is found that will not work.
    """
    from spg99.commands.checks import all_checks

    found = all_checks((data_dir or default_data_dir()).expanduser().absolute(), pg_bin=pg_bin, run_as=run_as)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        width = max(len(finding.subject) for finding in found)
        for finding in found:
            mark = click.style(finding.verdict.ljust(4), fg=_STYLE[finding.verdict])
            click.echo(f"{mark}  {finding.subject.ljust(width)}  {finding.observed}")
            if finding.advice:
                click.echo(f"{' ' * (width + 8)}-> {finding.advice}")
    return 1 if any(finding.verdict == "fail" for finding in found) else 0
