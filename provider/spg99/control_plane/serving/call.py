"""One authenticated call: whose key, for which account, with which rights. Here: who may see and do what.
Not here: finding the key (identity/known_keys.py), what is done.

Missing a permission is 403, the same for what exists and what does not. What lies outside the key's scope is 404.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.security import HTTPBearer

from spg99.control_plane.records.actors import Actor
from spg99.control_plane.serving.bodies import suggestion
from spg99.control_plane.serving.interfaces import Key
from spg99.control_plane.serving.plane import Plane, plane_of
from spg99.control_plane.serving.problems import request_id_of
from spg99.declarer import HEADER, parsed
from spg99.errors import BadRequest, Forbidden, Unauthorized
from spg99.patterns import NAME_PATTERN
from spg99.resources import Permission, Scope

_NAME = re.compile(NAME_PATTERN)
_ID = re.compile(r"[a-z]{2,8}_[a-z0-9]{1,64}")
_SCOPE_WIDTH = {Scope.TENANT: 0, Scope.ACCOUNT: 1, Scope.GLOBAL: 2}

ACCOUNT_HEADER: Final = "X-SPG99-Account"
ACCOUNT_LENGTH_MAX: Final = 100

bearer = HTTPBearer(auto_error=False, description="API key. The token is shown once, when the key is made or rotated.")


@dataclass(frozen=True)
class Call:
    """A request whose key is known and within its rate."""

    request: Request
    plane: Plane
    key: Key
    org_id: str
    """The account it acts for."""

    @property
    def actor(self) -> Actor:
        """Who acts, for the audit log; and for which stack or state. Raises BadRequest when that header is malformed."""
        header = self.request.headers.get(HEADER)
        return Actor(self.key.key_id, request_id_of(self.request.scope), None if header is None else parsed(header))

    @property
    def scope(self) -> Scope:
        """What the key may see at most."""
        return Scope(self.key.scope)

    @property
    def only_tenant_id(self) -> str | None:
        """The tenant a key of scope `tenant` is bound to; None for wider keys."""
        return self.key.tenant_id if self.scope is Scope.TENANT else None

    def may(self, permission: Permission) -> bool:
        """Whether the key has this permission."""
        return permission.value in self.key.permissions

    def need(self, *permissions: Permission) -> None:
        """Raises Forbidden unless the key has all of these."""
        lacking = [p.value for p in permissions if not self.may(p)]
        if lacking:
            raise Forbidden(
                f"This API key lacks the permission {' and '.join(lacking)}.", details={"permissions": lacking}
            )

    def need_scope(self, scope: Scope) -> None:
        """Raises Forbidden unless the key sees at least this much."""
        if _SCOPE_WIDTH[self.scope] < _SCOPE_WIDTH[scope]:
            raise Forbidden(f"This call needs an API key of scope {scope.value}.", details={"scope": scope.value})

    def need_operator(self) -> None:
        """Raises Forbidden unless the key may see and change the machines of the installation."""
        self.need(Permission.CAN_ADMIN_PLATFORM)
        self.need_scope(Scope.GLOBAL)

    def sees(self, *, org_id: str | None, tenant_id: str | None) -> bool:
        """Whether something of this account and tenant may be seen in this call."""
        if self.only_tenant_id is not None:
            return tenant_id == self.only_tenant_id
        return org_id == self.org_id

    def could_grant(self, *, scope: Scope, permissions: list[str], tenant_id: str | None) -> str | None:
        """None when a key with these rights has no more than this one; else what is too much, in a sentence."""
        if _SCOPE_WIDTH[scope] > _SCOPE_WIDTH[self.scope]:
            return f"a key of scope {self.key.scope} cannot grant scope {scope.value}"
        if self.only_tenant_id is not None and tenant_id != self.only_tenant_id:
            return "a key of one tenant cannot grant rights in another"
        beyond = sorted(set(permissions) - set(self.key.permissions))
        return f"this key does not have {' and '.join(beyond)} itself" if beyond else None


async def called(
    request: Request,
    credentials: Annotated[Any, Depends(bearer)],
    account: Annotated[
        str | None,
        Header(
            alias=ACCOUNT_HEADER,
            description="Id of the account to act for. Only keys of scope `global` need it; they act for the account "
            "`org_default` without it.",
            max_length=ACCOUNT_LENGTH_MAX,
        ),
    ] = None,
) -> Call:
    """Every route's first dependency: who calls, for whom, within the rate, with known parameters."""
    if credentials is None or not credentials.credentials:
        raise Unauthorized
    call = await of_request(request, credentials.credentials, account)
    _refuse_unknown_parameters(request)
    return call


async def of_request(request: Request, token: str, account: str | None) -> Call:
    """Who calls, for whom, within the rate; noted in the request for who audits a refusal."""
    plane = plane_of(request)
    key = await plane.keys.admit(token, address=request.client.host if request.client else None)
    call = Call(request, plane, key, await plane.keys.account_of(key, account))
    request.state.call = call
    return call


Caller = Annotated[Call, Depends(called)]


def is_name(text: str) -> bool:
    """Whether this can be the name of a tenant or database."""
    return _NAME.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether this can be an id of ours."""
    return _ID.fullmatch(text) is not None


def _refuse_unknown_parameters(request: Request) -> None:
    if not request.query_params:
        return
    parameters = get_flat_params(request.scope["route"].dependant)
    known = {p.alias for p in parameters if str(getattr(p.field_info, "in_", "")).endswith("query")}
    wrong = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            wrong[name] = suggestion(name, known).replace("field", "parameter")
        elif len(request.query_params.getlist(name)) > 1 and name != "type":
            wrong[name] = "is given more than once"
        elif "\x00" in value:
            wrong[name] = "must not hold a NUL character"
    if wrong:
        raise BadRequest("The request has parameters which are not valid here.", fields=wrong)
