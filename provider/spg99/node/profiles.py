"""PostgreSQL's settings of a compute. Here: the table of profiles and what holds for all. Not here: starting one.

All go on the command line, where they beat postgresql.conf and what ALTER SYSTEM writes. A tenant may change for its
session what PostgreSQL lets any user change (work_mem); memory is bounded in earnest only by the node's own limits.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from spg99.node.storage_rules import Bounds
from spg99.resources import Size

TENANT_RULES_NAME = "libspg99_tenant_rules.so"
"""The library that refuses what rights cannot (provider/tenant_rules), beside the extensions."""


@dataclass(frozen=True)
class Profile:
    """What a compute of one size gets. `memory_mb` is what the size promises; the rest is cut to fit it."""

    memory_mb: int
    max_connections: int
    shared_buffers_mb: int
    """An eighth: the system caches the rest, and it lets go of it when the database sleeps."""
    work_mem_kb: int
    maintenance_work_mem_mb: int
    max_wal_size_mb: int
    max_worker_processes: int


PROFILES: dict[Size, Profile] = {
    Size.L1: Profile(128, 50, 16, 1024, 16, 256, 4),
    Size.L2: Profile(256, 100, 32, 2048, 32, 256, 4),
    Size.L3: Profile(512, 200, 64, 2048, 64, 512, 8),
    Size.L4: Profile(1024, 300, 128, 4096, 128, 1024, 8),
    Size.L5: Profile(2048, 500, 256, 4096, 256, 1024, 8),
}

FOR_ALL: dict[str, str] = {
    # Local disk is the only durable place until WAL is kept outside of the compute.
    "fsync": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "max_notify_queue_pages": "8192",  # 64 MB: one listener that never ends its transaction would keep 8 GB
    "max_files_per_process": "256",  # the node's table of open files is everybody's
    "wal_sender_timeout": "5s",  # a receiver that hangs must not delay a stop by a minute
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "min_wal_size": "2MB",  # segments kept for later would lie beside every sleeping database
    "wal_recycle": "on",  # the template says off
    "wal_buffers": "1MB",
    "io_method": "sync",  # workers would be three more processes for each database
    "max_logical_replication_workers": "0",  # a tenant cannot subscribe; the launcher would be one more process
    "jit": "off",
    "huge_pages": "off",
    # A postmaster that restarts itself would let clients in behind our back: the agent tells, the Control Plane decides.
    "restart_after_crash": "off",
    "allow_alter_system": "off",
    "superuser_reserved_connections": "0",  # the superuser cannot log in at all (access.py)
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    # A tenant's statements and rows, and with them its users' secrets, stay out of the node's logs.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}


def compute_settings(
    size: Size, *, compute_id: str, hba_file: Path, extensions_dir: Path, within: Bounds
) -> dict[str, str]:
    """All settings of a compute. `cluster_name` is its id, so that a process list tells whose process one is."""
    profile = PROFILES[size]
    settings = FOR_ALL | {
        "cluster_name": compute_id,
        "hba_file": str(hba_file),
        "max_connections": str(profile.max_connections),
        "shared_buffers": f"{profile.shared_buffers_mb}MB",
        "effective_cache_size": f"{profile.memory_mb * 3 // 4}MB",
        "work_mem": f"{profile.work_mem_kb}kB",
        "maintenance_work_mem": f"{profile.maintenance_work_mem_mb}MB",
        "max_wal_size": f"{within.wal_bytes >> 20}MB",
        "max_slot_wal_keep_size": f"{within.wal_bytes >> 20}MB",  # a forgotten slot must not fill the disk
        "temp_file_limit": f"{within.temp_file_bytes >> 10}kB",
        "max_worker_processes": str(profile.max_worker_processes),
        "max_parallel_workers": str(profile.max_worker_processes // 2),
    }
    if ":" not in str(
        extensions_dir
    ):  # it parts the list and cannot be quoted: such a folder is an old one (folder.py)
        settings["extension_control_path"] = f"{extensions_dir}:$system"
    library = extensions_dir / TENANT_RULES_NAME
    if library.is_file():
        doubled = str(library).replace('"', '""')
        settings["shared_preload_libraries"] = f'"{doubled}"'
    if sys.platform == "linux":  # elsewhere PostgreSQL has no such call; saves an fsync for each file after a crash
        settings["recovery_init_sync_method"] = "syncfs"
    return settings
