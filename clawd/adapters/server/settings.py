"""Writes the server's configuration: owner-only access, no TCP, modest memory."""

from __future__ import annotations

import os
from pathlib import Path

from clawd.adapters.server.layout import Layout, account_name, write_file
from clawd.adapters.server.locate import Binaries

ROLE = "clawd"
_OWN_SETTINGS = "postgresql.local.conf"

# max_connections: daemon pool, listeners, a few dozen short CLI calls. DSM from the start, so that
# neither a small /dev/shm nor a log-out that sweeps it can break a running server.
_SETTINGS = """\
# Written by clawd at every start; put your own lines in pg/{own} of the home.
max_connections = 60
shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 64MB
min_dynamic_shared_memory = 16MB
huge_pages = off
jit = off
max_worker_processes = 4
max_parallel_workers_per_gather = 0
autovacuum_max_workers = 2
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] %a '
log_checkpoints = off
timezone = 'UTC'
log_timezone = 'UTC'
"""


def write_settings(layout: Layout, binaries: Binaries) -> None:
    """Three files beside the data, where the server's own account cannot change them (as root)."""
    text = _SETTINGS.format(own=_OWN_SETTINGS)
    if binaries.major >= 18:
        text += "io_method = sync\n"  # fewer idle processes; this load gains nothing from workers
    mode = 0o644 if layout.drops_privileges else 0o600
    write_file(layout.cluster / "postgresql.conf", text + _read_own(layout.home), mode)
    write_file(layout.cluster / "pg_hba.conf", f"local all {ROLE} peer map={ROLE}\n", mode)
    person = account_name(os.geteuid())
    write_file(layout.cluster / "pg_ident.conf", f'{ROLE} "{person}" {ROLE}\n', mode)


def _read_own(home: Path) -> str:
    try:
        return (home / "pg" / _OWN_SETTINGS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def server_command(layout: Layout, binaries: Binaries) -> list[str]:
    """The command line; what is said here beats every configuration file."""
    settings = {
        "config_file": layout.cluster / "postgresql.conf",
        "hba_file": layout.cluster / "pg_hba.conf",
        "ident_file": layout.cluster / "pg_ident.conf",
        "unix_socket_directories": layout.socket_dir,
        "unix_socket_permissions": "0700",
        "listen_addresses": "",
        "port": "5432",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries.bin / "postgres"), "-D", str(layout.data), *options]


def conninfo(layout: Layout, socket_dir: Path) -> str:
    """How to reach the server, said completely, so that no PG* variable can redirect it."""
    account = layout.account.replace("\\", "\\\\").replace("'", "\\'")
    return (
        f"host={socket_dir} port=5432 user={ROLE} dbname={ROLE}"
        f" requirepeer='{account}' connect_timeout=10"
    )
