"""`killsyncd rotate-key`."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace

from killsyncd.cli.command import Invocation, add_json, out, out_json, wants_json
from killsyncd.config import Config
from killsyncd.core.errors import EXIT_OK, AlreadyRunning, KeyRefused


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments of its own."""
    add_json(parser)
    parser.epilog = """\
Refuses while a daemon runs. The old key stays in the file, marked old, until everything is encrypted under
the new one; if this is interrupted, run it again. Backups made before need the old key: keep a copy of it.

examples:
  killsyncd rotate-key
"""


def run(args: Namespace, call: Invocation) -> int:
    """Make a new key, encrypt everything anew, retire the old one."""
    old, new = asyncio.run(_rotate(call.config()))
    if wants_json(args):
        out_json({"oldKeyId": old, "newKeyId": new})
    else:
        out(f"The key is {new} now; {old} is retired. Make a new copy of the key file, and a new backup.")
    return EXIT_OK


async def _rotate(config: Config) -> tuple[str, str]:
    from killsyncd.auth.encryption import Vault
    from killsyncd.cli.direct import opened
    from killsyncd.daemon.startup import open_vault
    from killsyncd.storage.repositories import key_rotation as rotating
    from killsyncd.storage.repositories.daemons import daemons_alive

    path = config.security.key_file
    if config.security.key_is_credential:
        raise KeyRefused(
            f"the key {path} is a systemd credential, which nobody here may write",
            "rotate a copy of it where it is made, with [security] key_file set to that copy",
        )
    async with opened(config) as store:
        if not store.exclusive and (alive := await daemons_alive(store)):
            where = ", ".join(f"{each.host} (process {each.pid})" for each in alive)
            raise AlreadyRunning(f"daemons run on this database: {where}", "stop them first")
        canary = await rotating.canary(store)
        if canary is None:
            raise KeyRefused("the database has no key yet", "killsyncd run makes it on its first start")
        before = open_vault(path, canary)
        vault = Vault.rotate(path)
        await rotating.reencrypt(store, vault)
        retired = Vault.retire(path)
        return before.key_id, retired.key_id
