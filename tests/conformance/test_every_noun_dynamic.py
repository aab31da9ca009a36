"""The suite through the dynamic Pulumi provider. Here: which tool. Not here: the tests (suite.py)."""

from __future__ import annotations

from conformance.suite import *  # noqa: F403
from conformance.tools import Dynamic

TOOL = Dynamic
