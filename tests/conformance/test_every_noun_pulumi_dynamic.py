"""The suite through the dynamic Pulumi provider under Pulumi's real CLI. Here: which tool. Not here: the tests (suite.py)."""

from __future__ import annotations

import pytest

from conformance.real_cli import CliDynamic
from conformance.suite import *  # noqa: F403

pytestmark = pytest.mark.slow  # again

TOOL = CliDynamic
