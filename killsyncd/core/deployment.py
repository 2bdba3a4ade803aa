"""How this killsyncd is run, so that a remedy names what its reader has to type.

Errors and problems are written for a daemon that was started by hand with its configuration in a usual
place: `killsyncd check`. Where they are shown `fit` turns that into what holds here: for a service, whose
files belong to a user of its own, `sudo killsyncd-maintain check`; in the demo with its `--socket`.
Pure text and quick to import; `killsyncd.config.deployment` finds out how it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

_COMMAND = re.compile(
    r"(?<![\w./-])killsyncd (run|check|login|ctl|export|import|backup|restore|rotate-key|migrate-store)\b"
    r"(?![^;:,\n]* --(?:config|socket)\b)"
)
_THROUGH_SOCKET = frozenset({"ctl", "login", "export", "import", "backup"})
_AS_SERVICE = frozenset({"check", "restore", "rotate-key", "migrate-store"})
_DEMO_AGAIN = "start the demo again"


@dataclass(frozen=True, slots=True)
class Deployment:
    """How the daemon is run, and who reads.

    unit: the systemd unit that runs it; empty where it is started by hand. user_unit: it belongs to the
    user's own manager. config: the file that commands have to name; empty where it is in a usual place.
    socket: the demo's, which has no file. root: the reader is root and needs no sudo. program: the
    executable's name. words: the command that this process runs, as it was typed.
    """

    unit: str = ""
    user_unit: bool = False
    config: str = ""
    socket: str = ""
    root: bool = False
    program: str = "killsyncd"
    words: str = ""

    def fit(self, text: str) -> str:
        """A text whose commands are those of this deployment. Fitting it again changes nothing."""
        if "killsyncd" in text:
            text = _COMMAND.sub(lambda match: self._command(match[1]), text)
        if self.unit:
            text = re.sub(r"(?<!systemctl )restart killsyncd\b", self._systemctl("restart"), text)
            text = re.sub(r"\band restart\b(?! it| killsyncd)", f"and {self._systemctl('restart')}", text)
            text = re.sub(r"\(SIGHUP\)", f"({self._systemctl('reload')})", text)
            text = re.sub(r"\bthen SIGHUP\b", f"then {self._systemctl('reload')}", text)
            text = re.sub(r"\bits log says more\b(?!:)", f"its log says more: {self.journal}", text)
            if not self.user_unit and not self.root:  # what it keeps belongs to its own user
                text = re.sub(r"(?<!sudo )\b(chmod|chown) (?=\d|--|[ugo+-])", r"sudo \1 ", text)
            text = re.sub(
                r"\bstop (it|them) first\b(?! \()", rf"stop \1 first ({self._systemctl('stop')})", text
            )
        return text

    @property
    def start(self) -> str:
        """What starts the daemon."""
        return self._command("run")

    @property
    def journal(self) -> str:
        """What shows its log; empty where it is started by hand, with the log before one's eyes."""
        if not self.unit:
            return ""
        return (
            f"journalctl --user -u {self.unit}"
            if self.user_unit
            else f"{self._sudo}journalctl -u {self.unit}"
        )

    def as_owner(self, owner: str) -> str:
        """How to run this process's command as the user whose files it works on.

        owner: a name, or `#` and a number.
        """
        if self.unit and not self.user_unit:
            word = self.words.split(" ", 1)[0]
            if word in ("", "run"):
                return self._systemctl("start")
            if word in _THROUGH_SOCKET:  # of a running one, or of its group
                return f"{self._systemctl('start')}, then the same again"
            return f"{self._sudo}killsyncd-maintain {self.words}"
        words = self.words or "run"
        if owner == "root":
            return f"{self._sudo}{self.program} {words}"
        return f"sudo -u {shlex.quote(owner)} {self.program} {words}"

    @property
    def _sudo(self) -> str:
        return "" if self.root else "sudo "

    def _systemctl(self, verb: str) -> str:
        name = self.unit.removesuffix(".service")
        return f"systemctl --user {verb} {name}" if self.user_unit else f"{self._sudo}systemctl {verb} {name}"

    def _command(self, word: str) -> str:
        if self.socket:
            if word not in _THROUGH_SOCKET:
                return _DEMO_AGAIN
            return f"{self.program} {word} --socket {shlex.quote(self.socket)}"
        if self.unit and word == "run":
            return self._systemctl("start")
        if self.unit and not self.user_unit and word in _AS_SERVICE:
            return f"{self._sudo}killsyncd-maintain {word}"
        named = f" --config {shlex.quote(self.config)}" if self.config else ""
        return f"{self.program} {word}{named}"


_FOR_TERMINALS = re.compile(
    r"[:;,]?\s*\bkillsyncd (?:run|check|login|ctl|backup|restore)\b[^.;,]*"
    r"(?:, or the dashboard's login button)?"
)
_FOR_OPERATORS = re.compile(r"\[\w+\] \w+|\b(?:its|the) log\b|journalctl|network and \[")
TELL_OPERATOR = "Tell whoever runs this killsyncd; its log has more."


def for_pilot(hint: str) -> str:
    """A remedy for a pilot in a browser, who has no terminal here and no configuration to look at."""
    if _FOR_OPERATORS.search(hint):
        return TELL_OPERATOR
    text = re.sub(r"\s+(?=[.;])", "", _FOR_TERMINALS.sub("", hint)).strip(" ;,")
    return text if text.strip(".") else ""


_find: Callable[[], Deployment] = Deployment
_here: Deployment | None = None


def configure(find: Callable[[], Deployment]) -> None:
    """Say how to find out how this process is deployed: asked once, by the first remedy that is shown."""
    global _find, _here
    _find, _here = find, None


def here() -> Deployment:
    """How this process is deployed; by hand until somebody says otherwise."""
    global _here
    if _here is None:
        _here = _find()
    return _here


def fit(text: str) -> str:
    """A text whose commands are those of this process's deployment."""
    return here().fit(text) if text else text
