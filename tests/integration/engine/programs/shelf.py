"""The SDK of the test provider `shelf`: what a generated one would be."""

from __future__ import annotations

from typing import Any

import pulumi


class Box(pulumi.CustomResource):
    path: pulumi.Output[str]
    password: pulumi.Output[str]
    shade: pulumi.Output[str]
    text: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **props: Any) -> None:
        outputs = dict.fromkeys(("path", "password", "shade"))
        super().__init__("shelf:index:Box", name, {"text": "", **props, **outputs}, opts)

    @staticmethod
    def get(name: str, id: str) -> Box:
        return Box(name, pulumi.ResourceOptions(id=id))


class Provider(pulumi.ProviderResource):
    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **props: Any) -> None:
        super().__init__("shelf", name, props, opts)


class Rack(pulumi.ComponentResource):
    """Boxes that belong together."""

    def __init__(self, name: str, boxes: int = 1, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("shelf:index:Rack", name, {}, opts)
        own = pulumi.ResourceOptions(parent=self)
        self.boxes = [Box(f"{name}-{n}", own, text=str(n)) for n in range(boxes)]
        self.register_outputs({"count": boxes})
