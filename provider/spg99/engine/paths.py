"""Property paths: `a.b[0]["c.d"].*`. Here: reading them, following them. Not here: who uses them (decide.py)."""

from __future__ import annotations

import copy
import re

from spg99.engine.values import SIG, Props, Value, is_secret
from spg99.errors import BadRequest

Path = tuple[str | int, ...]
_STEP = re.compile(r"""\.?([^.\[\]"]+)|\[(\d+)\]|\[\*\]|\["((?:[^"\\]|\\.)*)"\]""")
_MISSING = object()


def parse(text: str) -> Path:
    """A path from its text; `*` stands for every key or index. Raises BadRequest."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (match[0].startswith(".") and not steps):
            raise BadRequest(f"'{text}' is not a property path such as `tags.owner`, `rules[0]` or `labels[\"a.b\"]`.")
        if match[2] is not None:
            steps.append(int(match[2]))
        elif match[3] is not None:
            steps.append(re.sub(r"\\(.)", r"\1", match[3]))
        else:
            steps.append(match[1] or "*")
        position = match.end()
    return tuple(steps)


def contains(outer: Path, inner: Path) -> bool:
    """Whether `inner` lies at or below `outer`."""
    return len(inner) >= len(outer) and all(o in ("*", i) for o, i in zip(outer, inner, strict=False))


def keep_old(new: Props, old: Props, ignored: list[str]) -> Props:
    """`new` with the values of `old` wherever a path is ignored (Pulumi's `ignore_changes`)."""
    result = copy.deepcopy(new) if ignored else new
    for text in ignored:
        result = _keep(result, old, parse(text))
    return result


def _keep(new: Value, old: Value, path: Path) -> Value:
    """`new` where what `path` points at is as in `old`; a missing container on either side stays as it is."""
    if not path:
        return new if old is _MISSING else copy.deepcopy(old)
    if is_secret(new) or is_secret(old):
        bare = _keep(new["value"] if is_secret(new) else new, old["value"] if is_secret(old) else old, path)
        return {SIG: new[SIG], "value": bare} if is_secret(new) else bare
    step, rest = path[0], path[1:]
    if isinstance(new, dict) and isinstance(old, dict):
        for key in list(old.keys() | new.keys()) if step == "*" else [str(step)]:
            if not rest and key not in old:
                new.pop(key, None)  # the change to ignore is the addition
            elif key in old and (not rest or key in new):
                new[key] = _keep(new.get(key), old[key], rest)
        return new
    if isinstance(new, list) and isinstance(old, list):
        both = range(min(len(new), len(old)))
        for index in both if step == "*" else [step] if isinstance(step, int) and step in both else []:
            new[index] = _keep(new[index], old[index], rest)
    return new
