"""Runs a command under what a unit's directives do to a process, as far as one can without systemd.

    python -m tests.support.confine UNIT CALLS COMMAND ARGUMENT...

CALLS: a file with the names of the system calls that are allowed, one a line (worked out outside, where
systemd-analyze may run). Mounts are the caller's matter (bwrap). What is here: no new privileges, memory
that is never both writable and executable, the filter of system calls, and those filters that systemd makes
of RestrictAddressFamilies=, RestrictNamespaces=, RestrictRealtime=, RestrictSUIDSGID=, LockPersonality=.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import stat
import sys
from pathlib import Path

from tests.support.unit_file import read_unit, yes

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 4, 38, 65, 1
ALLOW = 0x7FFF0000
NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)
PROT_WRITE, PROT_EXEC = 2, 4
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
REALTIME = (1, 2, 6)  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
O_CREAT = os.O_CREAT
ADDRESS_FAMILIES = 46


class _Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def refuse(number: int) -> int:
    """The action that answers a call with this errno."""
    return 0x00050000 | number


class Filter:
    """A seccomp filter through libseccomp; loading it cannot be undone."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(default))

    def rule(self, action: int, call: str, *compares: tuple[int, int, int, int]) -> None:
        """One rule. compares: (argument, operator, a, b), all of which must hold. Unknown calls are none."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # this machine does not have it, or has it under another name only
        array = (_Compare * len(compares))(*(_Compare(*each) for each in compares))
        code = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(compares), array
        )
        if code:
            raise OSError(-code, f"{call}: {os.strerror(-code)}")

    def load(self) -> None:
        """From now on, for this process and whatever comes of it."""
        code = self._library.seccomp_load(self._context)
        if code:
            raise OSError(-code, os.strerror(-code))


def confine(unit: dict[str, list[str]], calls: set[str]) -> None:
    """Take from this process what the unit takes away; the filter of calls last, for it forbids the rest."""
    os.umask(int(unit["UMask"][-1], 8))
    for name, limit in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitCORE", resource.RLIMIT_CORE)):
        value = int(unit[name][-1])
        resource.setrlimit(limit, (value, value))
    if yes(unit, "NoNewPrivileges"):
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if yes(unit, "MemoryDenyWriteExecute"):
        _write_or_execute()
    _families(unit["RestrictAddressFamilies"][-1].split())
    if yes(unit, "RestrictNamespaces"):
        _namespaces()
    if yes(unit, "RestrictRealtime"):
        realtime = Filter(ALLOW)
        for policy in REALTIME:
            realtime.rule(refuse(errno.EPERM), "sched_setscheduler", (1, EQ, policy, 0))
        realtime.load()
    if yes(unit, "LockPersonality"):
        personality = Filter(ALLOW)
        personality.rule(refuse(errno.EPERM), "personality", (0, NE, 0, 0))
        personality.load()
    if yes(unit, "RestrictSUIDSGID"):
        _set_ids()
    only = Filter(refuse(getattr(errno, unit["SystemCallErrorNumber"][-1])))
    for call in calls:
        only.rule(ALLOW, call)
    only.load()


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _write_or_execute() -> None:
    try:
        _prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)  # Linux 6.3; systemd itself uses the filter alone
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    memory = Filter(ALLOW)
    both = PROT_WRITE | PROT_EXEC
    memory.rule(refuse(errno.EPERM), "mmap", (2, MASKED_EQ, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        memory.rule(refuse(errno.EPERM), call, (2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
    memory.rule(refuse(errno.EPERM), "shmat", (2, MASKED_EQ, 0o100000, 0o100000))
    memory.load()


def _families(words: list[str]) -> None:
    allowed = {int(getattr(socket, word)) for word in words}
    families = Filter(ALLOW)
    for family in set(range(ADDRESS_FAMILIES)) - allowed:
        families.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, EQ, family, 0))
    families.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, GE, ADDRESS_FAMILIES, 0))
    families.load()


def _namespaces() -> None:
    namespaces = Filter(ALLOW)
    for flag in NAMESPACES:
        for call in ("clone", "unshare"):
            namespaces.rule(refuse(errno.EPERM), call, (0, MASKED_EQ, flag, flag))
    namespaces.rule(refuse(errno.EPERM), "setns")
    # Its flags lie in memory, where a filter cannot look: glibc then falls back to clone.
    namespaces.rule(refuse(errno.ENOSYS), "clone3")
    namespaces.load()


def _set_ids() -> None:
    bits = Filter(ALLOW)
    for bit in (stat.S_ISUID, stat.S_ISGID):
        for call, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
            bits.rule(refuse(errno.EPERM), call, (argument, MASKED_EQ, bit, bit))
        bits.rule(refuse(errno.EPERM), "open", (1, MASKED_EQ, O_CREAT, O_CREAT), (2, MASKED_EQ, bit, bit))
        bits.rule(refuse(errno.EPERM), "openat", (2, MASKED_EQ, O_CREAT, O_CREAT), (3, MASKED_EQ, bit, bit))
    bits.load()


def main() -> None:
    """See the module."""
    unit, calls, *command = sys.argv[1:]
    confine(read_unit(Path(unit)), set(Path(calls).read_text().split()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
