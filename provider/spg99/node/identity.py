"""Who this node is to the Control Plane: enrolled once, kept in a file only we can read."""

from __future__ import annotations

import json
import socket

from spg99.client import InternalClient
from spg99.config import AgentSettings
from spg99.errors import Internal, Unauthorized
from spg99.node.folder import NodeFolder
from spg99.postgres.durable import replace_file
from spg99.protocol import Enrolment, Identity

HOW_TO_ENROL = (
    "Make a fresh enrolment token for a node at the Control Plane (single use, 15 minutes), and start the agent once with "
    "it in SPG99_ENROLMENT_TOKEN or --enrolment-token."
)


def read(folder: NodeFolder) -> Identity | None:
    """The identity of an earlier enrolment; None before the first."""
    try:
        return Identity.model_validate(json.loads(folder.identity_file.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Internal(f"{folder.identity_file} is damaged. Remove it. {HOW_TO_ENROL}") from error


async def enrol(folder: NodeFolder, settings: AgentSettings) -> Identity:
    """Trades the enrolment token for an identity and keeps it. Raises Unauthorized when there is none or it is spent."""
    if settings.enrolment_token is None:
        raise Unauthorized(f"The Control Plane does not know this node ('{settings.name}'). {HOW_TO_ENROL}")
    message = Enrolment(enrolment_token=settings.enrolment_token, name=settings.name, hostname=socket.gethostname())
    async with InternalClient(settings.cp_url, None, ca_file=settings.ca_file) as client:
        try:
            identity = await client.enroll_node(message)
        except Unauthorized as error:
            raise Unauthorized(f"The enrolment token is unknown, used or expired. {HOW_TO_ENROL}") from error
    replace_file(folder.identity_file, identity.model_dump_json(), mode=0o600, durable=True)
    return identity
