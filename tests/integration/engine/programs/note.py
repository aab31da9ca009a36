"""A dynamic resource as its users write them: `Note` is a file in the folder SHELF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)


class NoteProvider(ResourceProvider):
    suffix = ""

    def configure(self, req: ConfigureRequest) -> None:
        self.suffix = req.config.get("notes:suffix") or ""

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        bad = news.get("text") == "bad"
        return CheckResult(news, [CheckFailure("text", "must not be bad")] if bad else [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        if props["text"] == "explode":
            raise RuntimeError("the pen broke:\nno ink")
        file = Path(os.environ["SHELF"]) / f"{props['title']}.note"
        file.write_text(props["text"] + self.suffix)
        return CreateResult(props["title"], {**props, "where": str(file)})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        if news.get("lazy"):
            return DiffResult(changes=None)
        changed = [key for key in ("title", "text") if olds.get(key) != news.get(key)]
        return DiffResult(changes=bool(changed), replaces=["title"] if "title" in changed else [])

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        Path(olds["where"]).write_text(news["text"] + self.suffix)
        return UpdateResult({**news, "where": olds["where"]})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        file = Path(os.environ["SHELF"]) / f"{id_}.note"
        if not file.exists():
            return ReadResult("", {})
        text = file.read_text().removesuffix(self.suffix)
        inputs = {"title": id_, "text": text}
        return ReadResult(id_, {**props, **inputs, "where": str(file)}, inputs)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        Path(props["where"]).unlink(missing_ok=True)


class Note(Resource, module="notes", name="Note"):
    where: pulumi.Output[str]
    text: pulumi.Output[str]

    def __init__(
        self, name: str, text: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None, **more: Any
    ) -> None:
        super().__init__(NoteProvider(), name, {"title": name, "text": text, "where": None, **more}, opts)
