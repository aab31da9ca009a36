"""The entry point `spg99` and `python -m spg99`. Here: starting the command line. Not here: any command (commands/)."""

from __future__ import annotations


def main() -> None:
    """Runs the command line and exits."""
    from spg99.commands.app import app

    app.main(prog_name="spg99")


if __name__ == "__main__":
    main()
