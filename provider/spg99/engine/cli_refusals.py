"""Options of the Pulumi CLI that the engine's commands do not have: each is refused by its name, with what to do instead. Here: the
table. Not here: the options that there are (cli_options.py)."""

from __future__ import annotations

from typing import Final

import click

_CLI: Final = "The Pulumi CLI does it on the same stack: `pulumi {command} {option}`."
_SHOWS: Final = "It changes what is shown, not what is done: leave it out."
_DEBUG: Final = "--debug shows what providers and the SDK say."
_TARGET: Final = "Name with --target what is to be worked on."
_PLAN: Final = "`spg99 preview` shows what would be done, and `up` shows it again and asks."

REFUSALS: Final[dict[str, tuple[str, ...]]] = {
    f"Change the resource's option `replacement_trigger` in the program, which replaces it. {_CLI}": (
        "--replace",
        "--target-replace",
    ),
    f"{_TARGET} {_CLI}": ("--exclude", "-x", "--exclude-dependents"),
    f"{_TARGET} What is protected is never deleted. {_CLI}": ("--exclude-protected",),
    f"Set `protect` to false in the program and run `spg99 up` first. {_CLI}": ("--ignore-protect",),
    f"{_PLAN} {_CLI}": ("--plan", "--save-plan", "--strict"),
    "Run `spg99 refresh` first.": ("--refresh", "-r"),
    f"Run `spg99 up` first: the state then has what the program says of its providers. {_CLI}": ("--run-program",),
    "Run `spg99 stack rm` afterwards.": ("--remove",),
    "Leave out --yes: it shows first what it would do, and asks.": ("--preview-only",),
    "Mend the failure and run it again: it goes on where it stopped.": ("--continue-on-error",),
    "What a run began and did not end is settled by the next `spg99 up`. `spg99 orphans` lists what is left.": (
        "--import-pending-creates",
        "--skip-pending-creates",
    ),
    "`spg99 import-file` writes an import file of what exists.": ("--import-file",),
    f"Policies are not checked here. {_CLI}": (
        "--policy-pack",
        "--policy-pack-config",
        "--show-policy-exceptions",
        "--show-policy-remediations",
    ),
    "It runs on this machine only; `pulumi` with Pulumi Cloud runs elsewhere.": ("--remote",),
    f"Environments of Pulumi Cloud are not read here. {_CLI}": ("--override-env",),
    "Configuration is what Pulumi.<stack>.yaml says; -c KEY=VALUE changes it for one run.": (
        "--config-file",
        "--config-path",
    ),
    "`spg99 config get` shows a value.": ("--show-config",),
    "Mend the value: `spg99 config set`.": ("--skip-config-validation",),
    "Secrets are encrypted with a passphrase: PULUMI_CONFIG_PASSPHRASE or --passphrase-file.": ("--secrets-provider",),
    "`spg99 stack output --show-secrets` shows them afterwards.": ("--show-secrets",),
    "No plugin is ever downloaded here: leave it out.": ("--skip-plugin-pre-install",),
    "The state is always checked.": ("--disable-integrity-checking",),
    "Without a terminal nothing is asked: --yes agrees.": ("--non-interactive",),
    "Nothing is shown first here; --yes agrees.": ("--skip-preview",),
    _CLI: ("--attach-debugger", "--neo"),
    "No program text is made: write the declarations, the next preview shows whether they fit. Leave it out.": (
        "--generate-code",
        "--out",
        "-o",
    ),
    "Write it into a file for --file, with what is to be imported.": ("--parent", "--provider", "--properties"),
    f"Set `protect` in the program. {_CLI}": ("--protect",),
    f"`spg99 import-file` writes a file for --file. {_CLI}": ("--from", "--generate-resources"),
    "There is no history of runs to keep it in: leave it out.": ("--message", "-m"),
    _DEBUG: (
        "--logflow",
        "--logtostderr",
        "--memprofilerate",
        "--otel-traces",
        "--profiling",
        "--tracing",
        "--verbose",
        "-v",
    ),
    _SHOWS: (
        "--show-full-output",
        "--show-reads",
        "--show-replacement-steps",
        "--show-sames",
        "--suppress-outputs",
        "--suppress-permalink",
        "--suppress-progress",
        "--urns",
        "--emoji",
        "-e",
        "--fully-qualify-stack-names",
        "-Q",
    ),
    f"{_SHOWS} NO_COLOR=1 ends colours.": ("--color",),
}
"""What to do instead -> the options that are refused so, as the Pulumi CLI spells them."""

INSTEAD: Final = {option: text for text, names in REFUSALS.items() for option in names}


class EngineCommand(click.Command):
    """A command that runs, or would run, a stack: Pulumi's options that it lacks are refused with what to do instead."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does. Raises UsageError."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = error.option_name
            known = "--remote" if option.startswith("--remote-") else option
            if known not in INSTEAD:
                raise
            instead = INSTEAD[known].format(command=self.name, option=option)
            raise click.UsageError(f"The embedded engine has no {option}. {instead}", ctx) from error
