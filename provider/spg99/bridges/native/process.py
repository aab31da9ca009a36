"""What the launchers of users import: `spg99.bridges.native.process:main`. An interface: this name stays, wherever the plugin lives.

`spg99 plugin install` writes it into Pulumi's folder of plugins, and the script `pulumi-resource-spg99` names it; both start
whatever version of ours is installed by then.
"""

from __future__ import annotations

from spg99.bridges.pulumi.native.process import main

__all__ = ["main"]
