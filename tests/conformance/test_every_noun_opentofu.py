"""The suite through the Terraform provider under OpenTofu. Here: which tool. Not here: the tests (suite.py)."""

from __future__ import annotations

import pytest

from conformance.suite import *  # noqa: F403
from conformance.tools import OpenTofu

pytestmark = pytest.mark.slow  # again

TOOL = OpenTofu
