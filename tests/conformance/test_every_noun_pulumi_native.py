"""The suite through the native Pulumi provider under Pulumi's real CLI. Here: which tool. Not here: the tests (suite.py)."""

from __future__ import annotations

from conformance.real_cli import CliNative
from conformance.suite import *  # noqa: F403

TOOL = CliNative
