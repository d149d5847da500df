"""One way to start every command: arguments, logging, and what each ending means."""

import argparse
import dataclasses
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from tqdm import tqdm

from training_core.config import ConfigError, InputError, describe_options, load_config
from training_core.files.places import refuse_unusable
from training_core.run_folder import check_name
from training_core.step.guards import TrainingFault
from training_core.stopping import Stopped

logger = logging.getLogger(__name__)

T = TypeVar("T")

EXIT_OK = 0
EXIT_USAGE = 2  # wrong configuration or data, or a place that cannot be written
EXIT_FAULT = 3  # training went wrong: NaN, dead attention
EXIT_STOPPED = 75  # stopped by a signal after saving; the same command continues
EXIT_INTERRUPTED = 130  # second Ctrl-C: stopped at once, without saving

# System faults that the user can mend; any other OSError keeps its traceback.
_USER_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.ENXIO,  # a socket or a pipe in place of a file
}


def run_command(
    schema: type[T],
    *,
    run: Callable[[T], int | None],
    plan: Callable[[T], str],
    description: str,
    argv: Sequence[str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> int:
    """Read the configuration from `argv`, call `run` (or show `plan`), return the exit code.

    `run(config)` may return one of its own (None = 0).
    `plan(config)` checks the inputs and returns what would be done as text for `--dry-run`.
    `flags` names keys, each with its help, that may also be given as ``--KEY VALUE``.
    """
    arguments = _parser(schema, description, flags or {}).parse_intermixed_args(argv)
    given = [(key, getattr(arguments, key)) for key in flags or {}]
    overrides = [f"{key}={json.dumps(value)}" for key, value in given if value is not None]

    def work() -> int | None:
        config = load_config(schema, arguments.config, [*arguments.overrides, *overrides])
        # Of a run folder; also in the dry run, which opens none. Commands whose default is no name
        # find one.
        defaults = {f.name: f.default for f in dataclasses.fields(cast(Any, schema))}
        if defaults.get("name") and "output_root" in defaults:
            check_name(cast(Any, config).name)
            refuse_unusable(cast(Any, config).output_root, "output_root")
        if not arguments.dry_run:
            return run(config)
        sys.stdout.write(plan(config).rstrip() + "\n")
        return None

    return exit_code_of(work, getattr(schema, "memory_keys", ()))


def exit_code_of(work: Callable[[], int | None], memory_keys: Sequence[str] = ()) -> int:
    """Set up logging and do a command's `work`: its exit code (None = 0), or that of its error.

    An error that the user can mend becomes one line on stderr. Where memory runs out it names
    `memory_keys`, and the code is that of a wrong configuration: the same again would fail again.
    """
    set_up_logging()
    try:
        return work() or EXIT_OK
    except (ConfigError, InputError) as error:
        return _say(f"error: {error}", EXIT_USAGE)
    except OSError as error:
        if error.errno not in _USER_FAULTS:
            raise
        return _say(f"error: {error.filename or 'writing'}: {error.strerror}", EXIT_USAGE)
    except TrainingFault as error:
        return _say(f"training fault: {error}", EXIT_FAULT)
    except Stopped as error:
        return _say(f"{error}; the same command continues from here", EXIT_STOPPED)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        what = str(error).split(". ")[0].strip() or "the machine's memory is used up"
        advice = f"; turn one of these: {', '.join(memory_keys)}" if memory_keys else ""
        kept = "; the last checkpoint is kept"
        return _say(f"error: out of memory: {what}{advice}{kept}", EXIT_USAGE)
    except KeyboardInterrupt:
        return _say("interrupted at once; the last checkpoint is kept", EXIT_INTERRUPTED)


def _is_out_of_memory(error: BaseException) -> bool:
    """A GPU's memory, or the machine's, of which PyTorch tells in an error of no class of its own.

    PyTorch is not imported for this: a command that has none cannot run out of its memory.
    """
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def set_up_logging() -> None:
    """Log to stderr, one short line a message, without tearing progress bars.

    The environment variable VIDEOPAPR_LOG sets the level; DEBUG shows tracebacks of user errors.
    """
    handler = _BarFriendlyHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    level = os.environ.get("VIDEOPAPR_LOG", "INFO").upper()
    unknown = level not in logging.getLevelNamesMapping()
    logging.basicConfig(level="INFO" if unknown else level, handlers=[handler])
    if unknown:
        logger.warning("VIDEOPAPR_LOG=%s is no level; INFO is taken", level)
    # A path may hold bytes that are no UTF-8; a line that names it must not end in a fault.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class _BarFriendlyHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def _program() -> str | None:
    """How this command is called, for the first line of its help; None = the file's name."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {module.name.removesuffix('.__main__')}" if module else None


def _parser(schema: type, description: str, flags: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_program(),
        description=description,
        epilog=f"keys:\n{describe_options(schema)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for key, help_text in flags.items():
        parser.add_argument(f"--{key}", metavar="VALUE", help=help_text)
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of values")
    parser.add_argument("--dry-run", action="store_true", help="check, show the plan and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that win")
    return parser


def _say(line: str, code: int) -> int:
    logger.debug("stopped here", exc_info=True)
    sys.stderr.write(" ".join(line.split("\n")) + "\n")
    return code
