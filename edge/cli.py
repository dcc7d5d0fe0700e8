"""The `earshot` command: a table of its subcommands, each loaded when it is called, and what becomes of errors.

stdout is data, stderr is talk; exit codes 0, 1, 2 (usage) and 78 for a configuration that is wrong.
"""

import gc
import importlib
import logging
import os
import signal
import sys
import time
import unicodedata
from functools import cache
from types import FrameType
from typing import Any, Final, TextIO

import click

from edge import __version__
from edge.errors import EarshotError
from edge.outlet import OutletClosedError, OutletError, standard_outlet
from edge.talk import Talk

log = logging.getLogger(__name__)

# Where each command lives. Those of the workstation are named by text alone: nothing of `edge` imports them, and a
# device that lacks the `train` extra is told so only when somebody asks for one.
_COMMANDS: Final = {
    "run": "edge.commands.run",
    "replay": "edge.commands.replay",
    "score": "edge.commands.score",
    "enroll": "edge.commands.enroll",
    "check": "edge.commands.check",
    "forget": "edge.commands.forget",
    "bench": "edge.commands.bench",
    "simulate": "trainer.simulator.command",
    "train": "trainer.commands.train",
    "export": "export.commands.export",
    "evaluate": "export.commands.evaluate",
    "reproduce": "export.commands.reproduce",
    "report": "trainer.commands.report",
}


class _Commands(click.Group):
    """The subcommands, imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name == "run":
            # What it needs takes a second to load, in which a SIGHUP would end it. It waits for who listens to signals.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        if _COMMANDS[cmd_name].startswith("edge"):
            # Read when numpy is loaded: the products of a hop are too small for two threads, which take twice the
            # processor's time for them; and a process of one thread can have a twin (edge/detector/child.py).
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        gc.disable()  # what is loaded stays: to look through it again and again is a tenth of the time that it takes
        try:
            command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        except ModuleNotFoundError as error:
            if _COMMANDS[cmd_name].startswith("edge"):
                raise
            return _missing(cmd_name, error.name or "a package")
        finally:
            gc.enable()
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's signature
        """Carry out what was asked for. What the system refuses, stdout apart, is an error with its own words.

        click would end without a word at any pipe that is broken.
        """
        try:
            return super().invoke(ctx)
        except OutletError:
            raise
        except OSError as error:
            log.debug("where it came from:", exc_info=True)
            raise EarshotError(_told(error)) from error


def _missing(name: str, package: str) -> click.Command:
    """A command that says what it lacks, so that `earshot --help` works everywhere."""

    @click.command(name, help=f"(needs the train extra: {package} is not installed)", add_help_option=False)
    @click.argument("anything", nargs=-1, type=click.UNPROCESSED)
    def command(anything: tuple[str, ...]) -> None:  # noqa: ARG001  whatever was meant for the real one
        raise EarshotError(
            f"earshot {name}: {package} is not installed: it is in the train extra, `make setup-train` or "
            "`pip install 'earshot[train]'`"
        )

    command.ignore_unknown_options = True
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="earshot")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def earshot(verbose: bool) -> None:
    """Hears when a machine starts to sound wrong, and says so over MQTT."""
    set_up_logging("debug" if verbose else "info")


def set_up_logging(level: str, *, times: bool = False) -> None:
    """Talk on stderr: for journald with a priority before each line (sd-daemon(3)), else with `times`, UTC, or bare.

    times: for the daemon, which also never waits for who reads it.
    """
    handler = logging.StreamHandler(_talk_of(sys.stderr) if times else sys.stderr)
    plain = _TimeFormatter() if times else _Formatter("%(message)s")
    handler.setFormatter(_JournalFormatter() if _journald_reads_stderr() else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _journald_reads_stderr() -> bool:
    """Whether stderr is the very stream that JOURNAL_STREAM names: `earshot run 2>file` inherits the variable too.

    > JOURNAL_STREAM contains two decimal numbers separated by a colon: device and inode (systemd.exec(5)).
    """
    try:
        found = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # there is none, it is closed, or it lives in memory
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _talk_of(stream: TextIO) -> Talk | TextIO:
    try:
        return _talk(stream.fileno())
    except (AttributeError, OSError, ValueError):  # it lives in memory
        return stream


@cache
def _talk(descriptor: int) -> Talk:
    return Talk(descriptor)


class _Formatter(logging.Formatter):
    """Spells what would steer a terminal: names of files come from strangers. Lines stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        return _spelled(super().format(record))


def _spelled(text: str) -> str:
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) == "Cc" and letter not in "\n\t"
        else letter
        for letter in text
    )


class _TimeFormatter(_Formatter):
    """`2026-11-23T21:45:00.123Z text`, the time as in the messages over MQTT."""

    converter = time.gmtime  # type: ignore[assignment]  # a function of C, which typeshed reads as one without arguments
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")


class _JournalFormatter(_Formatter):
    """`<4>text`: journald takes the number for the priority, so that `journalctl -p warning` works.

    It stands before every line, since journald takes each for an entry of its own: tracebacks have many.
    """

    _PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

    def format(self, record: logging.LogRecord) -> str:
        priority = self._PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def main() -> None:
    """Run the command line and exit."""
    sys.stdout = stdout = standard_outlet(sys.stdout)
    if sys.stderr is None:  # else `print(file=sys.stderr)` goes to stdout
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    # As an exception, so that what was half written goes: a command of its own mind, `run`, sets another.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        code = earshot.main(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except EarshotError as error:
        print(f"earshot: {_spelled(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OutletError as error:
        if not isinstance(error, OutletClosedError):  # the reader has left, as `head` does
            print(f"earshot: stdout: cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())  # Python would complain once more, at its end
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _told(error: OSError) -> str:
    """Return what the system has refused, and of which files, if it says so."""
    names = [name for name in (error.filename, error.filename2) if name is not None]
    where = " -> ".join(os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in names)
    what = error.strerror or str(error) or type(error).__name__
    return f"{where}: {what}" if where else f"the system refused something: {what}; `earshot -v` says where"
