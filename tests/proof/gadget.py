"""The proof noun: a gadget with every kind of field. What works for it in every bridge works for a noun nobody has thought of yet.

`PACKAGE` is what a bridge is given instead of the product's; `server.py` mounts it. Field by field:

    kind of field                 | here
    ------------------------------+--------------------------------------------------------------------
    text, pattern                 | name (immutable, required), shelf (immutable, stands in the path)
    whole number, bounds, default | amount 3 (0..1000)         | exact beyond 2**53: big_number
    number, open bounds           | ratio 0.5 (above 0, below 10)
    flag                          | is_on
    enum                          | color
    list of text, list of objects | tags, steps                | map of text, of objects: labels, by_zone
    nested object                 | limits
    time                          | until
    nullable                      | note                       | immutable with a default: material
    deprecated                    | old_mode
    secret that is answered again | pin                        | write-only secret: pass_phrase
    protection                    | deletion_protection
    computed                      | gadget_id, created_at      | volatile: uses, updated_at
    secret output                 | token (always told), recovery_code (told once, at the create)
    moved by an input             | pass_phrase_version
    rules across fields           | red_gadgets_are_few, until_needs_a_note
    states                        | creating -> ready | failed; deleting
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from spg99.emit.package import package as product
from spg99.emit.shapes import fields_of, noun_of
from spg99.resources import Immutable, Resource, Secret, Spec, Volatile
from spg99.resources.fields import MovedBy
from spg99.rules import Rule
from spg99.shapes import Ephemeral, Noun, Package


class Color(StrEnum):
    """Color of a gadget."""

    RED = "red"
    """Like a fire engine."""
    BLUE = "blue"
    """Like the sky."""


class Limits(BaseModel):
    """Bounds of something."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_items: int = Field(ge=1)
    """Most items."""
    color: Color = Color.RED
    """Color of the items."""


class GadgetState(StrEnum):
    """Where a gadget stands in its life."""

    CREATING = "creating"
    """It is being made."""
    READY = "ready"
    """It works."""
    FAILED = "failed"
    """It does not; `state_reason` says why."""
    DELETING = "deleting"
    """It is being taken apart."""


def red_gadgets_are_few(values: Mapping[str, Any]) -> str | None:
    """Only blue gadgets may be many."""
    if values["color"] == "red" and values["amount"] > 100:
        return "amount: must be at most 100 for red gadgets"
    return None


def until_needs_a_note(values: Mapping[str, Any]) -> str | None:
    """A rule that blames no field."""
    return "a gadget with an end needs a note that says why" if values["until"] and not values["note"] else None


class _Declared(Spec):
    """What is written and answered alike."""

    RULES: ClassVar[tuple[Rule, ...]] = (red_gadgets_are_few, until_needs_a_note)

    shelf: Immutable[str] = Field(pattern="^[a-z][a-z0-9-]{0,30}$", examples=["top"])
    """Shelf on which the gadget stands."""
    name: Immutable[str] = Field(pattern="^[a-z][a-z0-9-]{0,30}$", examples=["lamp"])
    """Name of the gadget, unique on its shelf."""
    amount: int = Field(default=3, ge=0, le=1000)
    """How many there are (`count` is a word of Terraform's)."""
    ratio: float = Field(default=0.5, gt=0, lt=10)
    """Width by height."""
    is_on: bool = False
    """Whether it is switched on."""
    color: Color = Color.RED
    """Its color."""
    tags: list[str] = Field(default_factory=list, max_length=5)
    """Words to find it by."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Words by keys of the user's."""
    limits: Limits | None = None
    """Its bounds."""
    steps: list[Limits] = Field(default_factory=list)
    """Bounds, one after the other."""
    by_zone: dict[str, Limits] = Field(default_factory=dict)
    """Bounds by zone."""
    note: str | None = Field(default=None, max_length=200)
    """What one should know about it."""
    big_number: int | None = Field(default=None, ge=0)
    """A whole number that may be larger than a double can hold."""
    until: AwareDatetime | None = None
    """When it is taken down (RFC 3339)."""
    material: Immutable[str] = "steel"
    """What it is made of."""
    old_mode: str | None = Field(default=None, deprecated="Use `is_on` instead.")
    """How it used to be switched on."""
    pin: Secret[str | None] = Field(default=None, min_length=4)
    """A secret that the system answers again."""
    deletion_protection: bool = False
    """While true, the gadget cannot be deleted."""


class GadgetSpec(_Declared):
    """A gadget as a user declares it."""

    pass_phrase: Secret[str | None] = Field(default=None, min_length=8, max_length=100)
    """A secret that the system never answers."""


class Gadget(_Declared, Resource):
    """A gadget: something with every kind of field."""

    NOUN: ClassVar[str] = "gadget"
    SPEC: ClassVar[type[Spec]] = GadgetSpec
    COLLECTION_PATH: ClassVar[str] = "/shelves/{shelf}/gadgets"
    ITEM_PATH: ClassVar[str] = "/shelves/{shelf}/gadgets/{name}"
    ID_FORMAT: ClassVar[str] = "{shelf}/{name}"
    UID_FIELD: ClassVar[str] = "gadget_id"
    HOLDS_DATA: ClassVar[bool] = True
    PROTECTED_BY: ClassVar[str | None] = "deletion_protection"
    FILTERS: ClassVar[tuple[str, ...]] = ("state", "name_prefix")
    SETTLED_STATES: ClassVar[frozenset[str]] = frozenset({GadgetState.READY})
    FAILED_STATES: ClassVar[frozenset[str]] = frozenset({GadgetState.FAILED})
    GONE_STATES: ClassVar[frozenset[str]] = frozenset({GadgetState.DELETING})

    model_config = Resource.model_config

    gadget_id: str
    """Id of the gadget."""
    state: Volatile[GadgetState]
    """Where the gadget stands in its life."""
    state_reason: Volatile[str | None] = None
    """Why it is in state `failed`, in a sentence."""
    token: Secret[str]
    """A secret that the system makes and tells whenever it is asked."""
    recovery_code: Secret[str | None] = None
    """A secret that the system tells once, at the create."""
    pass_phrase_version: Annotated[int, MovedBy(("pass_phrase",))]
    """Grows with each new pass phrase."""
    uses: Volatile[int] = 0
    """How often it was used."""
    created_at: datetime
    """When it was made (UTC)."""
    updated_at: Volatile[datetime]
    """When it last changed (UTC)."""


class PassSpec(Spec):
    """A pass as a run asks for it."""

    gadget: str
    """What it opens, as `<shelf>/<name>`."""
    seconds: int = Field(default=60, ge=1)
    """How long it is valid."""


class Pass(PassSpec, Resource):
    """Opens one gadget for a while. Not declarable: only the ephemeral makes it."""

    NOUN: ClassVar[str] = "pass"
    SPEC: ClassVar[type[Spec]] = PassSpec
    COLLECTION_PATH: ClassVar[str] = "/passes"
    ITEM_PATH: ClassVar[str] = "/passes/{pass_id}"
    ID_FORMAT: ClassVar[str] = "{pass_id}"
    UID_FIELD: ClassVar[str] = "pass_id"

    model_config = Resource.model_config

    pass_id: str
    """Id of the pass."""
    code: Secret[str]
    """What opens the gadget."""


class Workshop(Resource):
    """The workshop: there is one, and it can only be read."""

    NOUN: ClassVar[str] = "workshop"
    SPEC: ClassVar[type[Spec]] = Spec
    COLLECTION_PATH: ClassVar[str] = "/workshop"
    ITEM_PATH: ClassVar[str] = "/workshop"
    ID_FORMAT: ClassVar[str] = ""
    UID_FIELD: ClassVar[str] = "workshop_id"
    LISTED: ClassVar[bool] = False

    workshop_id: str
    """Id of the workshop."""
    motto: str
    """What stands over its door."""


GADGET: Noun = noun_of(Gadget)
PASS: Noun = noun_of(Pass)


async def open_pass(client: Any, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Makes a pass."""
    made = await client.create(PASS, dict(inputs))
    return made, {"pass_id": made["pass_id"]}


async def close_pass(client: Any, private: Mapping[str, Any]) -> None:
    """Gives it back."""
    await client.delete(PASS, dict(private))


PACKAGE = Package(
    name="spg99",
    version=product().version,
    description="Gadgets, to prove that no bridge knows a noun by name.",
    configuration=product().configuration,
    nouns=(GADGET,),
    reads=(noun_of(Workshop),),
    functions=product().functions,
    ephemerals=(
        Ephemeral(
            name="gadget_pass",
            title="GadgetPass",
            description="A pass that opens a gadget for one run.",
            inputs=fields_of(PassSpec),
            outputs=fields_of(Pass),
            open="proof.gadget:open_pass",
            close="proof.gadget:close_pass",
        ),
    ),
)
"""A bridge that is given this offers `spg99:index:Gadget`, `spg99_gadget` and so on."""

MOUNTED = (GADGET, PASS)
"""Everything the server has to know: the declarable, and what ephemerals make."""
