"""`killsyncd rotate-key`."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from killsyncd.cli.command import Invocation, add_json, out, out_json, wants_json
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_OK, AlreadyRunning, KeyRefused, UsageError

if TYPE_CHECKING:
    from killsyncd.auth.encryption import Vault
    from killsyncd.cli.direct import AnyStore


def add_arguments(parser: ArgumentParser) -> None:
    """`--stage`."""
    parser.add_argument(
        "--stage",
        choices=("begin", "finish"),
        help="used by killsyncd-maintain if the key is a credential that only root may write: "
        "the new key file is written to stdout",
    )
    add_json(parser)
    parser.epilog = """\
Stop the daemon first: this is refused while one is running. The old key stays in the key file, marked as
old, until everything is encrypted with the new one; if this is interrupted, run it again. Backups made
before need the old key: keep a copy of it.

If the key is a systemd credential, only root may write it. `sudo killsyncd-maintain rotate-key` then calls
this command twice: with --stage begin, which puts a new key before the old one, and, when that file is in its
place, with --stage finish, which encrypts everything again and leaves the old key out.

examples:
  killsyncd rotate-key
  sudo killsyncd-maintain rotate-key    as the service's user
"""


def run(args: Namespace, call: Invocation) -> int:
    """Make a new key, encrypt everything anew, retire the old one."""
    config = call.config()
    if args.stage:
        if sys.stdout.isatty():
            raise UsageError("--stage writes a key, and this is a terminal", "killsyncd-maintain rotate-key")
        stage = _begin if args.stage == "begin" else _finish
        sys.stdout.write(asyncio.run(stage(config)))
        return EXIT_OK
    old, new = asyncio.run(_rotate(config))
    if wants_json(args):
        out_json({"oldKeyId": old, "newKeyId": new})
    else:
        out(f"The key is {new} now; {old} is retired. Make a new copy of the key file, and a new backup.")
    return EXIT_OK


async def _rotate(config: Config) -> tuple[str, str]:
    from killsyncd.auth.encryption import Vault
    from killsyncd.storage.repositories import key_rotation as rotating

    path = config.security.key_file
    if config.security.key_is_credential:
        raise KeyRefused(
            f"the key {path} is a systemd credential, which only root may write",
            "sudo killsyncd-maintain rotate-key. A credential that is encrypted (LoadCredentialEncrypted=) "
            "has to be a plain one (LoadCredential=) for as long as that takes",
        )
    async with _ours_alone(config) as (store, before):
        vault = Vault.rotate(path)
        await rotating.reencrypt(store, vault)
        retired = Vault.retire(path)
        return before.key_id, retired.key_id


async def _begin(config: Config) -> str:
    """A key file with a new key in front, to be put in the old one's place."""
    from killsyncd.auth.encryption import Vault

    async with _ours_alone(config):
        return Vault.with_new_key(config.security.key_file, credential=config.security.key_is_credential)


async def _finish(config: Config) -> str:
    """Encrypt everything anew; a key file without the old keys."""
    from killsyncd.auth.encryption import Vault
    from killsyncd.storage.repositories import key_rotation as rotating

    async with _ours_alone(config) as (store, vault):
        await rotating.reencrypt(store, vault)
        return Vault.without_old_keys(config.security.key_file, credential=config.security.key_is_credential)


@asynccontextmanager
async def _ours_alone(config: Config) -> AsyncIterator[tuple[AnyStore, Vault]]:
    """The database, which no daemon uses, and its keys."""
    from killsyncd.cli.direct import opened
    from killsyncd.daemon.startup import open_vault
    from killsyncd.storage.repositories import key_rotation as rotating
    from killsyncd.storage.repositories.daemons import daemons_alive

    async with opened(config) as store:
        if not store.exclusive and (alive := await daemons_alive(store)):
            where = ", ".join(f"{each.host} (process {each.pid})" for each in alive)
            raise AlreadyRunning(f"daemons run on this database: {where}", "stop them first")
        canary = await rotating.canary(store)
        if canary is None:
            raise KeyRefused("the database has no key yet", "killsyncd run makes it on its first start")
        yield store, open_vault(config.security, canary)
