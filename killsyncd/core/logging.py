"""Structured logs: one line an event, text for a terminal, JSON for everything else.

    log = get_logger(__name__)
    log.info("queued", character_id=90000001, priority=8)

An event is a short constant sentence; what varies goes into fields. Nothing
secret belongs in either, and a redaction stands behind that as the last line of
defence: it runs over every finished value, whoever logged it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from killsyncd.core.redaction import cleaned, redact

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
ROOT = "killsyncd"


class Logger:
    """A named logger whose events carry fields by keyword; `bind` makes one with fields of its own."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object]) -> None:
        self._logger = logger
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """A logger that adds these fields to every event, for example `job` and `character_id`."""
        return Logger(self._logger, {**self._fields, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields, None)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(logging.INFO, event, fields, None)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(logging.WARNING, event, fields, None)

    def error(self, event: str, /, **fields: object) -> None:
        self._log(logging.ERROR, event, fields, None)

    def exception(self, event: str, /, exc: BaseException | None = None, **fields: object) -> None:
        """An error with its traceback: of `exc`, or of the exception being handled."""
        self._log(logging.ERROR, event, fields, exc or sys.exception())

    def log(self, level: str, event: str, /, **fields: object) -> None:
        """An event at a level that is decided at run time; one of `LEVELS`."""
        self._log(LEVELS[level], event, fields, None)

    def _log(self, level: int, event: str, fields: dict[str, object], exc: BaseException | None) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"killsyncd_fields": {**self._fields, **fields}}
            self._logger.log(level, "%s", event, exc_info=exc, extra=extra, stacklevel=3)


def get_logger(name: str, **fields: object) -> Logger:
    """The logger of a module (`get_logger(__name__)`), with fields that every event of it carries."""
    return Logger(logging.getLogger(name), fields)


class _Allowance:
    """How often an event was told in this minute, and how often it was not."""

    __slots__ = ("left_out", "since", "told")

    def __init__(self, since: float) -> None:
        self.since = since
        self.told = 0
        self.left_out = 0


LINES_A_MINUTE = 20
"""Of one event that clients cause."""

_MINUTE = 60.0
_allowances: dict[tuple[str, str], _Allowance] = {}


class SparingLogger(Logger):
    """For what clients cause, as often as they like: after LINES_A_MINUTE lines of an event it only counts.

    What it counted is told as `left_out` in one line, once the minute is over.
    """

    __slots__ = ()

    def _log(self, level: int, event: str, fields: dict[str, object], exc: BaseException | None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        now, key = time.monotonic(), (self._logger.name, event)
        allowance = _allowances.setdefault(key, _Allowance(now))
        if now - allowance.since >= _MINUTE:
            self._tell_left_out(level, event)
            allowance = _allowances.setdefault(key, _Allowance(now))
        if allowance.told < LINES_A_MINUTE:
            allowance.told += 1
            super()._log(level, event, fields, exc)
            return
        allowance.left_out += 1
        if allowance.left_out == 1:
            from asyncio import get_running_loop  # not for `killsyncd ctl`, which must start fast

            with suppress(RuntimeError):  # no loop: the next event after this minute tells it
                rest = max(0.0, allowance.since + _MINUTE - now)
                get_running_loop().call_later(rest, self._tell_left_out, level, event)

    def _tell_left_out(self, level: int, event: str) -> None:
        allowance = _allowances.pop((self._logger.name, event), None)
        if allowance is not None and allowance.left_out:
            super()._log(level, event, {"left_out": allowance.left_out, "seconds": _MINUTE}, None)


def forget_allowances() -> None:
    """Begin to count anew, for all events."""
    _allowances.clear()


def get_sparing_logger(name: str) -> Logger:
    """The logger of a module whose events clients cause."""
    return SparingLogger(logging.getLogger(name), {})


class StateLog:
    """Logs a change of state once, and not every failure again.

    A key that was never told is in the state `normal`, so a first success says
    nothing. Keys back in `normal` are forgotten: the memory is that of what is wrong now.
    """

    def __init__(self, log: Logger, normal: str = "ok") -> None:
        self._log = log
        self._normal = normal
        self._states: dict[object, tuple[str, int]] = {}

    def set(self, key: object, state: str, event: str, /, *, level: str = "", **fields: object) -> bool:
        """Tell the state of a key; logs `event` if it changed, and answers whether it did.

        level: `info` into normal and `warning` out of it unless told otherwise. A change
        carries `repeats`, how often the state it leaves was told again, if it was.
        """
        last, repeats = self._states.get(key, (self._normal, 0))
        if last == state:
            if state != self._normal:
                self._states[key] = (state, repeats + 1)
            return False
        if state == self._normal:
            del self._states[key]
        else:
            self._states[key] = (state, 0)
        if repeats:
            fields["repeats"] = repeats
        self._log.log(level or ("info" if state == self._normal else "warning"), event, **fields)
        return True

    def state(self, key: object) -> str:
        """The state that was told last."""
        return self._states.get(key, (self._normal, 0))[0]

    def forget(self, key: object) -> None:
        """Back to normal without a word, for a key that is gone."""
        self._states.pop(key, None)


# --- lines --------------------------------------------------------------------------------------


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "killsyncd_fields", None) or {}
    return {name: cleaned(name, value) for name, value in fields.items()}


def _exception_of(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _traceback_of(exc: BaseException) -> str:
    return redact("".join(traceback.format_exception(exc)).rstrip("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `event`, `logger`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redact(record.getMessage()),
            "logger": record.name,
        }
        for name, value in _fields_of(record).items():
            line[f"{name}_" if name in line else name] = value
        if exc := _exception_of(record):
            line.setdefault("error", redact(f"{type(exc).__name__}: {exc}"))
            line["traceback"] = _traceback_of(exc)
        try:
            return orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError):
            # An integer above 64 bits, a lone surrogate: rare, and never worth losing a line.
            return json.dumps(line, default=str, separators=(",", ":"))


_COLOURS = {"debug": "2", "info": "32", "warn": "33", "error": "31"}


class TextFormatter(logging.Formatter):
    """`12:03:04 info  queued  character_id=90000001 priority=8`, in local time.

    A traceback follows on lines of its own, indented.
    """

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = {"WARNING": "warn", "CRITICAL": "error"}.get(record.levelname, record.levelname.lower())
        event = _one_line(redact(record.getMessage()))
        parts = [
            f"{self._paint(name + '=', '2')}{_value(value)}" for name, value in _fields_of(record).items()
        ]
        line = f"{self._paint(moment, '2')} {self._paint(f'{level:<5}', _COLOURS.get(level, '0'))} {event}"
        if parts:
            line = f"{line}  {' '.join(parts)}"
        if exc := _exception_of(record):
            line += "\n" + "\n".join(f"    {_one_line(each)}" for each in _traceback_of(exc).split("\n"))
        return line

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def _one_line(text: str) -> str:
    """Without control characters: what came from outside must not write lines or colours of its own."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "-"}[value]
    if isinstance(value, str):
        plain = _one_line(value)
        return plain if re.fullmatch(r"[^\s\"=]+", plain) else json.dumps(plain, ensure_ascii=False)
    if isinstance(value, (dict, list)):
        return _one_line(json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":")))
    return str(value)


_PRIORITIES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))
"""Of syslog(3), as sd-daemon(3) has them; what is below is `<7>`."""


class _ForJournal(logging.Formatter):
    """Another formatter's lines, each with its priority before it: `journalctl -p warning` goes by that."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return prioritised(self._inner.format(record), record.levelno)


def prioritised(text: str, level: int) -> str:
    """A text whose every line has the priority of a level of `logging` before it."""
    mark = next((mark for least, mark in _PRIORITIES if level >= least), "<7>")
    return "\n".join(mark + line for line in text.split("\n"))


_journal = False


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again finds it; a reader that went away is no reason for noise."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def configure(
    level: str = "info",
    format: str = "auto",
    stream: TextIO | None = None,
    colour: bool | None = None,
    journal: bool | None = None,
) -> None:
    """Send every log line to a stream (stderr unless told otherwise); may be called again to change it.

    level: one of `LEVELS`, for this program; libraries are heard from `warning` on.
    format: `text`, `json`, or `auto`: text on a terminal, JSON otherwise.
    colour: of text; unless told otherwise, on a terminal. journal: the stream is systemd's journal; None: as
    it was told last.
    """
    global _journal
    _journal = _journal if journal is None else journal
    target = stream if stream is not None else sys.stderr
    terminal = target.isatty()
    handler = _Handler(target)
    if format == "text" or (format == "auto" and terminal):
        handler.setFormatter(TextFormatter(terminal if colour is None else colour))
    else:
        handler.setFormatter(JsonFormatter())
    if _journal and stream is None and handler.formatter is not None:
        handler.setFormatter(_ForJournal(handler.formatter))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger(ROOT).setLevel(LEVELS[level])
    # It tells of cookies that it cannot read, with what is in them.
    logging.getLogger("aiohttp.internal").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
