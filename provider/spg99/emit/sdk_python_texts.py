"""The parts of the Python SDK that are the same whatever the schema says: how it registers, lazy names, packaging texts."""

from __future__ import annotations

PACKAGE = '''
import os
from typing import Any, Dict, Mapping, Optional, Tuple, Type

import pulumi
import pulumi.runtime
from semver import VersionInfo

VERSION = "{version}"
NAME = "{name}"
RESOURCES: Dict[str, Tuple[str, str]] = {resources}
"""Module and class of every resource, by its token."""


def resource_options(opts: Optional[pulumi.ResourceOptions], **own: Any) -> pulumi.ResourceOptions:
    """A resource's options with this SDK's version: the provider of the same version serves it, unless the program says otherwise."""
    given = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(version=VERSION), opts)
    return pulumi.ResourceOptions.merge(given, pulumi.ResourceOptions(**own))


def invoke_options(opts: Any) -> Any:
    """The options of a function's call with this SDK's version."""
    if isinstance(opts, pulumi.InvokeOutputOptions):
        return pulumi.InvokeOutputOptions.merge(pulumi.InvokeOutputOptions(version=VERSION), opts)
    return pulumi.InvokeOptions.merge(pulumi.InvokeOptions(version=VERSION), opts)


def environment(*names: str) -> Optional[str]:
    """The first of these variables that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


class Resource(pulumi.CustomResource):
    """What every resource of this package is. Subclasses say its token, outputs and secrets."""

    TOKEN: str
    ARGS: Any
    OUTPUTS: Tuple[str, ...]
    REQUIRED: Tuple[str, ...]
    SECRET_INPUTS: Tuple[str, ...]
    SECRETS: Tuple[str, ...]
    ALIASES: Tuple[str, ...]

    def _declare(self, resource_name: str, given: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        """Registers the resource. `given` and `named` are the constructor's: (args, opts) or (opts) and one keyword an input."""
        args, opts = _sorted_out(self.ARGS, given, named)
        values = dict(args.__dict__) if args is not None else dict(named)
        if args is None:
            self.ARGS(**({{**dict.fromkeys(self.REQUIRED), **named}}))  # a keyword that no input has is refused here
        elif named:
            raise TypeError(f"{{type(self).__name__}}: give either args or one keyword for each input, not both")
        if opts is None or not (opts.urn or opts.id):
            for name in self.REQUIRED:
                if values.get(name) is None:
                    raise TypeError(f"{{type(self).__name__}}: missing required property '{{name}}'")
        self._register(resource_name, opts, values)

    def _register(self, resource_name: str, opts: Optional[pulumi.ResourceOptions], values: Mapping[str, Any]) -> None:
        args = self.ARGS.__new__(self.ARGS)
        # An output without a place among the arguments would not be there at all.
        args.__dict__.update({{**dict.fromkeys(self.OUTPUTS), **values}})
        for name in self.SECRET_INPUTS:
            if args.__dict__.get(name) is not None:
                args.__dict__[name] = pulumi.Output.secret(args.__dict__[name])
        own = resource_options(
            opts,
            additional_secret_outputs=list(self.SECRETS),
            aliases=[pulumi.Alias(type_=alias) for alias in self.ALIASES],
        )
        super().__init__(self.TOKEN, resource_name, args, own)


def _sorted_out(kind: Type[Any], given: Tuple[Any, ...], named: Dict[str, Any]) -> Tuple[Any, Any]:
    """Arguments and options out of what a constructor was given by position; `args` and `opts` are taken out of `named`."""
    args, opts = named.pop("args", None), named.pop("opts", None)
    rest = list(given)
    if rest and (isinstance(rest[0], kind) or (rest[0] is None and len(rest) == 2)):
        args = rest.pop(0)
    if rest:
        opts = rest.pop(0)
    if rest or (opts is not None and not isinstance(opts, pulumi.ResourceOptions)):
        raise TypeError(f"expected ({{kind.__name__}}, ResourceOptions) or (ResourceOptions) after the name")
    return args, opts


def class_of(token: str) -> Any:
    """The class of a resource."""
    import importlib

    module, name = RESOURCES[token]
    return getattr(importlib.import_module(f"{{__package__}}.{{module}}"), name)


class _Module(pulumi.runtime.ResourceModule):
    """Makes our classes of references to resources that come from elsewhere (a component's outputs)."""

    def version(self) -> Optional[VersionInfo]:
        return VersionInfo.parse(VERSION)

    def construct(self, name: str, typ: str, urn: str) -> pulumi.Resource:
        if typ not in RESOURCES:
            raise Exception(f"unknown resource type {{typ}}")
        made: pulumi.Resource = class_of(typ)(name, pulumi.ResourceOptions(urn=urn))
        return made


class _Package(pulumi.runtime.ResourcePackage):
    def version(self) -> Optional[VersionInfo]:
        return VersionInfo.parse(VERSION)

    def construct_provider(self, name: str, typ: str, urn: str) -> pulumi.ProviderResource:
        if typ != f"pulumi:providers:{{NAME}}":
            raise Exception(f"unknown provider type {{typ}}")
        from .provider import Provider

        return Provider(name, pulumi.ResourceOptions(urn=urn))


pulumi.runtime.register_resource_module(NAME, "index", _Module())
pulumi.runtime.register_resource_package(NAME, _Package())
'''

LAZY = '''
from typing import TYPE_CHECKING, Any, Dict, List

from . import _package

__version__ = _package.VERSION

if TYPE_CHECKING:
{imports}

__all__ = [
{names}]

_WHERE: Dict[str, str] = {where}
"""In which module a name is. A module is loaded when a name of it is asked for: a program pays for what it uses."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"{{__name__}}.{{name}}")
    if name not in _WHERE:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    import importlib

    found = getattr(importlib.import_module(f"{{__name__}}.{{_WHERE[name]}}"), name)
    globals()[name] = found
    return found


def __dir__() -> List[str]:
    return sorted({{*globals(), *__all__}})


_MODULES = {modules}
'''

PROJECT = """\
# Generated by `make generate` from schema.json. Edits are lost.
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "{version}"
description = "{description}"
readme = "README.md"
license = "{license}"
requires-python = ">=3.9"
dependencies = [{dependencies}]
keywords = [{keywords}]

[project.urls]
Homepage = "{homepage}"
Repository = "{repository}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

README = """\
<!-- Generated by `make generate` from schema.json. Edits are lost. -->
# {distribution}

{description}

Typed resources for Pulumi programs in Python, served by the native provider `pulumi-resource-{name}`.

    pip install ./sdk/python        # from a checkout
    {name} plugin install            # the provider, where the Pulumi CLI looks for it

A machine that has only the Pulumi CLI gets the provider from the platform it talks to:

    pulumi plugin install resource {name} {version} --server "$SPG99_CP_URL/downloads"

```python
{example}```

The provider reads its settings from the stack's configuration, then from the environment:

{settings}

Classes, inputs and outputs have the names of `{name}.dynamic`. To move a program from there, change its import
(`import {module} as {name}`): every resource carries an alias to its dynamic type, so the next `up` keeps all objects.
"""
