"""Settings as flags: flags beat variables beat file beat default, and the help tells all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spg99.commands.app import app
from spg99.commands.launch import environment_of_child
from spg99.commands.options import settings_command
from spg99.config import (
    OF_ONE_PROCESS,
    AgentSettings,
    CatalogueSettings,
    ControlPlaneSettings,
    DevSettings,
    GatewaySettings,
    PageserverSettings,
    SafekeeperSettings,
    Settings,
    load,
)

ALL: dict[str, type[Settings]] = {
    "dev": DevSettings,
    "control-plane": ControlPlaneSettings,
    "gateway": GatewaySettings,
    "agent": AgentSettings,
    "safekeeper": SafekeeperSettings,
    "pageserver": PageserverSettings,
    "catalogue": CatalogueSettings,
}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "CONFIG", "HOST", "LOG_JSON", "WORKERS"):
        monkeypatch.delenv(f"SPG99_{name}", raising=False)


def run(*arguments: str) -> tuple[GatewaySettings | None, Result]:
    """The settings that a command with these arguments is handed."""
    seen: list[GatewaySettings] = []

    @settings_command(GatewaySettings, "gateway")
    def command(settings: GatewaySettings) -> None:
        """A command."""
        seen.append(settings)

    result = CliRunner().invoke(command, arguments)
    return (seen[0] if seen else None), result


def port(*arguments: str) -> int:
    settings, result = run(*arguments)
    assert settings is not None, result.output
    return settings.port


def test_each_source_beats_the_one_below(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "spg99.toml"
    file.write_text("[gateway]\nport = 2000\n[agent]\nname = 'not mine'\n")
    assert port() == 5432
    assert port("--config", str(file)) == 2000
    monkeypatch.setenv("SPG99_CONFIG", str(file))
    assert port() == 2000
    monkeypatch.setenv("SPG99_PORT", "3000")
    assert port() == 3000
    assert port("--port", "4000") == 4000


def test_a_flag_that_says_false_beats_a_variable_that_says_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPG99_LOG_JSON", "true")
    settings, _ = run("--no-log-json")
    assert settings is not None and settings.log_json is False
    settings, _ = run()
    assert settings is not None and settings.log_json is True


@pytest.mark.parametrize(("command", "kind"), ALL.items())
def test_help_shows_flag_variable_default_and_meaning_of_every_setting(command: str, kind: type[Settings]) -> None:
    text = " ".join(
        CliRunner().invoke(app, [command, "--help"], terminal_width=200, max_content_width=200).output.split()
    )
    for name, field in kind.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"SPG99_{name.upper()}" in text
        assert " ".join((field.description or "no description").split()) in text
    assert f"in its table `{command}`" in text


@pytest.mark.parametrize("kind", ALL.values())
def test_what_a_process_inherits_is_not_written_again(kind: type[Settings]) -> None:
    """One that stands above and below is offered by processes that do nothing with it."""
    inherited = {name for above in kind.__mro__[1:] for name in getattr(above, "model_fields", {})}
    assert not inherited & kind.__annotations__.keys() - {"OWN_VARIABLES"}


def test_a_wrong_flag_is_wrong_usage() -> None:
    _, result = run("--port", "many")
    assert result.exit_code == 2
    assert "--port" in result.output


def test_a_wrong_variable_is_an_error_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPG99_WORKERS", "-1")
    result = CliRunner().invoke(app, ["gateway"])
    assert result.exit_code == 1
    assert "error: A setting of `spg99 gateway` is not valid." in result.output
    assert "  workers: " in result.output
    assert "Traceback" not in result.output


def test_a_key_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "spg99.toml"
    file.write_text("[gateway]\nprot = 1\n")
    result = CliRunner().invoke(app, ["gateway", "--config", str(file)])
    assert result.exit_code == 1
    assert "prot: " in result.output


def test_a_port_that_two_processes_read_is_taken_by_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `spg99 dev` all processes have the same environment, and a port can be had once."""
    ports = [
        (name, kind, field)
        for name, kind in ALL.items()
        if name != "dev"
        for field in kind.model_fields
        if field == "port" or field.endswith("_port")
    ]
    variables = [variable for _, kind, field in ports for variable in kind.variables_of(field)]
    shared = {variable for variable in variables if variables.count(variable) > 1}
    assert "SPG99_METRICS_PORT" in shared
    # Dev decides these itself, by a flag: `--port` of the API and of the Gateway.
    assert shared - {"SPG99_PORT"} - {"SPG99_GATEWAY_PORT"} <= OF_ONE_PROCESS
    for variable in shared:
        monkeypatch.setenv(variable, "9099")
    assert not OF_ONE_PROCESS & environment_of_child({}).keys()


def test_a_variable_of_one_process_counts_before_the_shared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPG99_METRICS_PORT", "1")
    gateway, agent = (
        load(kind, name, flags={}) for name, kind in (("gateway", GatewaySettings), ("agent", AgentSettings))
    )
    assert (gateway.metrics_port, agent.metrics_port) == (1, 1)  # one process by itself: as ever
    monkeypatch.setenv("SPG99_GATEWAY_METRICS_PORT", "2")
    monkeypatch.setenv("SPG99_AGENT_METRICS_PORT", "3")
    gateway, agent = (
        load(kind, name, flags={}) for name, kind in (("gateway", GatewaySettings), ("agent", AgentSettings))
    )
    assert (gateway.metrics_port, agent.metrics_port) == (2, 3)
    seen, result = run("--metrics-port", "4")
    assert seen is not None and seen.metrics_port == 4, result.output
    assert "SPG99_GATEWAY_METRICS_PORT, SPG99_METRICS_PORT" in " ".join(run("--help")[1].output.split())
