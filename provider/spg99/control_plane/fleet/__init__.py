"""Nodes, Gateways, safekeepers and the orders to agents. Here: what other domains may call; a function has its noun in its name outside."""

from spg99.control_plane.fleet.authority import revoked as revoked_identities
from spg99.control_plane.fleet.gateways import GatewayRow
from spg99.control_plane.fleet.gateways import note_seen as note_gateway_seen
from spg99.control_plane.fleet.gateways import uncounted as uncounted_egress
from spg99.control_plane.fleet.identities import Identities
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.nodes import find as find_node
from spg99.control_plane.fleet.nodes import named as node_named
from spg99.control_plane.fleet.nodes import note_seen as note_node_seen
from spg99.control_plane.fleet.nodes import page as page_of_nodes
from spg99.control_plane.fleet.nodes import remove as remove_node
from spg99.control_plane.fleet.nodes import restore as restore_node
from spg99.control_plane.fleet.nodes import retime as retime_nodes
from spg99.control_plane.fleet.nodes import set_status as set_node_status
from spg99.control_plane.fleet.nodes import with_room as nodes_with_room
from spg99.control_plane.fleet.pageservers import PageserverRow
from spg99.control_plane.fleet.pageservers import exist as pageservers_exist
from spg99.control_plane.fleet.pageservers import note_seen as note_pageserver_seen
from spg99.control_plane.fleet.pageservers import retime as retime_pageservers
from spg99.control_plane.fleet.polls import Polls
from spg99.control_plane.fleet.safekeepers import SafekeeperRow
from spg99.control_plane.fleet.safekeepers import active as active_safekeepers
from spg99.control_plane.fleet.safekeepers import gone as safekeepers_gone
from spg99.control_plane.fleet.safekeepers import hold as hold_safekeepers
from spg99.control_plane.fleet.safekeepers import lose as lose_safekeeper
from spg99.control_plane.fleet.safekeepers import named as safekeeper_named
from spg99.control_plane.fleet.safekeepers import names as safekeeper_names
from spg99.control_plane.fleet.safekeepers import not_seen_since as safekeepers_not_seen_since
from spg99.control_plane.fleet.safekeepers import note_seen as note_safekeeper_seen
from spg99.control_plane.fleet.safekeepers import of_ids as safekeepers_of_ids
from spg99.control_plane.fleet.safekeepers import page as page_of_safekeepers
from spg99.control_plane.fleet.safekeepers import restore as restore_safekeeper
from spg99.control_plane.fleet.safekeepers import retime as retime_safekeepers
from spg99.control_plane.fleet.tasks import TaskRow
from spg99.control_plane.fleet.tasks import cancel as cancel_task
from spg99.control_plane.fleet.tasks import enqueue as enqueue_task
from spg99.control_plane.fleet.tasks import find as find_task
from spg99.control_plane.fleet.tasks import finish as finish_task
from spg99.control_plane.fleet.tasks import forget_before as forget_tasks_before
from spg99.control_plane.fleet.tasks import retime as retime_tasks
from spg99.control_plane.fleet.tasks import wait_until as orders_wait_until
from spg99.control_plane.fleet.tokens import EnrolmentKind
from spg99.control_plane.fleet.tokens import new_enrolment as new_enrolment_token

__all__ = [
    "EnrolmentKind",
    "GatewayRow",
    "Identities",
    "NodeRow",
    "PageserverRow",
    "Polls",
    "SafekeeperRow",
    "TaskRow",
    "active_safekeepers",
    "cancel_task",
    "enqueue_task",
    "find_node",
    "find_task",
    "finish_task",
    "forget_tasks_before",
    "hold_safekeepers",
    "lose_safekeeper",
    "new_enrolment_token",
    "node_named",
    "nodes_with_room",
    "note_gateway_seen",
    "note_node_seen",
    "note_pageserver_seen",
    "note_safekeeper_seen",
    "orders_wait_until",
    "page_of_nodes",
    "page_of_safekeepers",
    "pageservers_exist",
    "remove_node",
    "restore_node",
    "restore_safekeeper",
    "retime_nodes",
    "retime_pageservers",
    "retime_safekeepers",
    "retime_tasks",
    "revoked_identities",
    "safekeeper_named",
    "safekeeper_names",
    "safekeepers_gone",
    "safekeepers_not_seen_since",
    "safekeepers_of_ids",
    "set_node_status",
    "uncounted_egress",
]
