"""The former name of kit/platform.py, for tests that still say `house`. Not here: anything of its own."""

from kit.platform import BIN, wait_for
from kit.platform import Platform as House
from kit.platform import a_platform as a_house

__all__ = ["BIN", "House", "a_house", "wait_for"]
