"""What `whence-collector WORD ...` does beside serving: each word with its parser and its work.

A new chore is a row of CHORES; a chore raises CollectorError for what a person can mend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from whence_collector import config
from whence_collector.chore_options import chore_parser, settings_of
from whence_collector.errors import InvalidSetting


def enroll(words: Sequence[str]) -> None:
    """Make the certificate of a host, and at first the authority."""
    from whence_collector.authority import Authority  # noqa: PLC0415 -- cryptography takes a while

    parser = chore_parser("enroll", "Make the certificate with which a host delivers.")
    parser.add_argument("host", help="as `uname -n` prints it there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: ./HOST-whence-tls")
    options = parser.parse_args(words)
    settings = settings_of(options)
    into = options.out or Path(f"{options.host}-whence-tls")
    Authority(settings.tls_dir).enroll(options.host, into)
    print(
        f"{into}: ca.pem, host.pem, host.key. Copy them to /etc/whence/tls on {options.host}, and "
        "name them under [tls] in its /etc/whence/uplink.toml."
    )


def backup(words: Sequence[str]) -> None:
    """Copy the database of a collector, whether it runs or not, and read the copy back."""
    from whence_collector import admin, backup, file_copy  # noqa: PLC0415 -- DuckDB takes a while
    from whence_collector.store import Store  # noqa: PLC0415 -- the same

    parser = chore_parser("backup", "Copy the database, also while the collector serves.")
    parser.add_argument("file", type=Path, help="the copy; must not be there yet")
    options = parser.parse_args(words)
    settings = settings_of(options)
    if options.file.exists():
        raise InvalidSetting(f"{options.file} is there already; name a new file")
    reply = admin.ask_backup(admin.socket_of(settings.data_dir))
    if reply is not None:
        made = file_copy.Copied(Path(reply.path), reply.size_bytes, reply.blake3, reply.paused_ns)
    else:
        _must_exist(settings)
        store = Store(settings.database)  # raises DataDirectoryInUse where one runs after all
        made = backup.start(store).result()
        store.close()
    try:
        copied = file_copy.copy(made.path, options.file)
    finally:
        made.path.unlink(missing_ok=True)
    proof = backup.verify(options.file, made.digest)
    print(
        f"{options.file}: {copied.size_bytes:,} bytes, {proof.total:,} rows in {len(proof.rows)} "
        f"tables read back; ingest waited {made.paused_ns / 1e9:.2f} s"
    )


def restore(words: Sequence[str]) -> None:
    """Put a copy back in the place of the database of a collector that does not run."""
    from whence_collector import backup  # noqa: PLC0415 -- DuckDB takes a while
    from whence_collector.database import connect  # noqa: PLC0415 -- the same

    parser = chore_parser("restore", "Put a copy back; the collector must be stopped.")
    parser.add_argument("file", type=Path, help="a copy that `backup` made")
    options = parser.parse_args(words)
    settings = settings_of(options)
    if settings.database.exists():
        connect(settings.database).close()  # raises DataDirectoryInUse while a collector runs
    proof = backup.restore(options.file, settings.database)
    print(
        f"{settings.database}: {proof.total:,} rows in {len(proof.rows)} tables. What stood there "
        f"is beside it, with {backup.REPLACED} behind its name. Batches that were committed since "
        "the copy are gone and will be told as lost."
    )


def _must_exist(settings: config.Config) -> None:
    if not settings.database.exists():
        raise InvalidSetting(
            f"{settings.database} is not there; name the collector's --data-dir or --config"
        )


def _about_requests(word: str) -> Callable[[Sequence[str]], None]:
    def chore(words: Sequence[str]) -> None:
        from whence_collector.request_chores import REQUEST_CHORES  # noqa: PLC0415 -- loads gRPC

        REQUEST_CHORES[word](words)

    return chore


CHORES: dict[str, Callable[[Sequence[str]], None]] = {
    **{word: _about_requests(word) for word in ("policy", "principal", "token")},
    "backup": backup,
    "enroll": enroll,
    "restore": restore,
}
