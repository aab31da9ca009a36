"""A noun with every kind of field, for tests of plans; no server knows it."""

from __future__ import annotations

from typing import Any

from spg99.bridges.terraform import schema
from spg99.bridges.terraform.schema import Block
from spg99.shapes import EnumValue, Field, Function, FunctionFault, Noun, Package, Parameter, Seconds, Type

TEXT, WHOLE, NUMBER, FLAG, TIME = Type("text"), Type("whole"), Type("number"), Type("flag"), Type("time")
COLOR = Type("enum", name="Color", values=(EnumValue("red", "Like a rose."), EnumValue("blue", "")))
RULE = Type(
    "object",
    name="Rule",
    fields=(
        Field("host", TEXT, "Where.", required=True),
        Field("port", WHOLE, "Port.", default=5432),
        Field("note", TEXT, "A note.", nullable=True),
    ),
)
BOX = Type(
    "object",
    name="Box",
    fields=(Field("width", WHOLE, "Width.", default=3), Field("depth", WHOLE, "Depth.", required=True)),
)

INPUTS = (
    Field("shelf", TEXT, "Shelf of the gadget.", required=True, immutable=True),
    Field("name", TEXT, "Name of the gadget.", required=True, immutable=True),
    Field("color", COLOR, "Its color.", default="red"),
    Field("weight", WHOLE, "Its weight.", default=7),
    Field("ratio", NUMBER, "A ratio.", nullable=True),
    Field("active", FLAG, "Whether it runs.", default=True),
    Field("note", TEXT, "A note.", nullable=True),
    Field("tags", Type("list", of=TEXT), "Tags.", nullable=True),
    Field("labels", Type("map", of=TEXT), "Labels.", default={}),
    Field("rules", Type("list", of=RULE), "Rules.", nullable=True),
    Field("boxes", Type("map", of=BOX), "Boxes.", nullable=True),
    Field("box", BOX, "A box.", nullable=True),
    Field("until", TIME, "Until when.", nullable=True),
    Field("host", TEXT, "Host name; made when it is left out.", nullable=True),
    Field("pin", TEXT, "A secret that is told.", nullable=True, secret=True),
    Field("passphrase", TEXT, "A secret that is not told.", nullable=True, secret=True),
    Field("locked", FLAG, "Protects it.", default=False),
    Field("old_name", TEXT, "Old.", nullable=True, deprecated="Use `name`."),
)
TOLD = tuple(
    field._replace(nullable=False) if field.name == "host" else field for field in INPUTS if field.name != "passphrase"
)
OUTPUTS = (
    *TOLD,
    Field("gadget_id", TEXT, "Id of the gadget.", required=True),
    Field("state", TEXT, "State.", required=True, volatile=True),
    Field("address", TEXT, "Address.", required=True),
    Field("token", TEXT, "Token.", nullable=True, secret=True, moved_by=("passphrase", "weight")),
    Field("created_at", TIME, "When it was made.", required=True),
)
GADGET = Noun(
    noun="gadget",
    title="Gadget",
    plural="gadgets",
    description="A thing with every kind of field.",
    inputs=INPUTS,
    outputs=OUTPUTS,
    collection_path="/shelves/{shelf}/gadgets",
    item_path="/shelves/{shelf}/gadgets/{name}",
    id_format="{shelf}/{name}",
    uid_field="gadget_id",
    holds_data=True,
    protected_by="locked",
    filters=("state", "name_prefix"),
    seconds=Seconds(create=11, read=12, update=13, delete=14),
    schema_version=3,
)
TICKET = Noun(
    noun="ticket",
    title="Ticket",
    plural="tickets",
    description="A thing that the server names.",
    inputs=(Field("reason", TEXT, "Why.", required=True, immutable=True),),
    outputs=(
        Field("reason", TEXT, "Why.", required=True, immutable=True),
        Field("ticket_id", TEXT, "Id.", required=True),
    ),
    collection_path="/tickets",
    item_path="/tickets/{ticket_id}",
    id_format="{ticket_id}",
    uid_field="ticket_id",
)
TWICE = Function(
    "twice",
    "Doubles.",
    "Answers twice the number.",
    (Parameter("number", WHOLE, "The number."),),
    WHOLE,
    "unit.bridges.terraform.shop:twice",
)
PACKAGE = Package(
    name="shop",
    version="1.2.3",
    description="A shop.",
    configuration=(
        Field("url", TEXT, "Where it is.", nullable=True, environment=("SHOP_URL",)),
        Field("api_key", TEXT, "Its key.", nullable=True, secret=True, environment=("SHOP_KEY", "SHOP_OLD_KEY")),
    ),
    nouns=(GADGET, TICKET),
    reads=(),
    functions=(TWICE,),
    ephemerals=(),
)
TABLES = schema.tables(PACKAGE)
BLOCK: Block = TABLES.resources["shop_gadget"]


def config(**written: Any) -> dict[str, Any]:
    """A configuration of a gadget: everything null but what is written."""
    return dict.fromkeys(BLOCK.named) | {"shelf": "top", "name": "one"} | written


def answer(**changed: Any) -> dict[str, Any]:
    """What the server answers about a new gadget."""
    values: dict[str, Any] = {field.name: field.default for field in OUTPUTS}
    return (
        values
        | {"shelf": "top", "name": "one", "host": "h1.example", "gadget_id": "gad_1", "state": "ready"}
        | {"address": "a:1", "token": "t0", "created_at": "2026-01-01T00:00:00Z"}
        | changed
    )


def twice(number: int) -> int:
    """The function of the package."""
    if number > 100:
        raise FunctionFault(0, "must be at most 100")
    return 2 * number
