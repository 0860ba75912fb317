"""The command `l2o`: subcommands imported only when they are called, and errors said in one line.

Nothing heavy is imported here: `l2o --help` must answer at once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from l2o_cli import runtime, signals
from l2o_cli.errors import one_line

# name -> its line in `l2o --help`; the command is the attribute `name` of the module `l2o_cli.commands.name`.
COMMANDS = {
    "meta-train": "Meta-train a learned optimizer as a YAML spec says.",
    "ablate": "Meta-train variants of a spec for the same time each, and compare them.",
    "report": "Write a page about a meta-training run, a comparison or an evaluation.",
    "evaluate": "Run optimizers on problems as they are; write their curves and scores.",
    "compare": "Compare learned optimizers with tuned hand-designed ones.",
    "score": "Score the runs of a comparison or an evaluation, without running anything.",
    "export": "Write a learned optimizer for Keras, or as safetensors.",
    "bench": "Measure the speed of the inner loop, in training and evaluation.",
    "problems": "List the problems, transformations and ensembles; describe or draw a problem.",
    "calibrate": "Measure how far Adam gets on problems, its learning rate tuned.",
    "optimizers": "List the optimizers and the published checkpoints; describe one.",
    "spec": "Show every field of a spec, or a JSON schema of it for editors.",
    "cache": "Show or clear what is kept to be faster the next time.",
}

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class LazyGroup(click.Group):
    """A group that knows its commands' names and short helps, and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        attribute = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"l2o_cli.commands.{attribute}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(COMMANDS)}"
            raise click.UsageError(f"unknown command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show tracebacks and TensorFlow's own messages (may also follow the command).")
@click.version_option(runtime.version(), message="l2o %(version)s", help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Meta-train learned optimizers, evaluate them, compare them with tuned hand-designed ones and export them.

    Try:  l2o evaluate --problem digits_mlp
    """
    runtime.prepare(debug, compiling=ctx.invoked_subcommand not in ("cache", "spec"))


def describe(error: Exception) -> tuple[str, int]:
    """The one line that tells a user of `error`, and the exit code."""
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        see = f" (see {context.command_path} --help)" if context and isinstance(error, click.UsageError) else ""
        return one_line(error.format_message() + see), error.exit_code
    # Of what the user did wrong; of a file or data set the message says all too.
    code = getattr(error, "exit_code", None)
    data_missing = getattr(sys.modules.get("l2o_problems.data"), "DataMissing", ())
    code = FAILED if code is None and isinstance(error, (OSError, data_missing)) else code
    if not isinstance(code, int):
        hint = runtime.cache_hint(error) or "run with --debug for the traceback"
        return one_line(f"{type(error).__name__}: {error}; {hint}"), FAILED
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"{error.filename}: {error.strerror}"), code
    return one_line(str(error)) or type(error).__name__, code


def _debug_first(arguments: Sequence[str]) -> list[str]:
    """`--debug` moved from wherever it stands to the front, where the group reads it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    rest = [argument for argument in arguments[:end] if argument != "--debug"]
    return ["--debug"] * (len(rest) < end) + rest + list(arguments[end:])


def _open_streams() -> None:
    """Have standard streams that are closed lead nowhere: the next files to be opened would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115, until the end


def run(arguments: Sequence[str]) -> int:
    """Run `l2o` with `arguments`; its exit code."""
    _open_streams()
    arguments = _debug_first(arguments)
    debug = "--debug" in arguments[:1]
    try:
        result: Any = cli.main(arguments, prog_name="l2o", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        # What reads our output has gone: say nothing, and keep the interpreter from saying it while it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except Exception as error:
        if signals.interrupting():
            return _interrupted()
        if debug:
            import traceback

            traceback.print_exc()
        message, code = describe(error)
        print(f"l2o: error: {message}", file=sys.stderr)
        return signals.exit_code() or code


def _interrupted() -> int:
    print("l2o: interrupted", file=sys.stderr)
    return signals.exit_code() or INTERRUPTED


def main() -> NoReturn:
    """The entry point of the console script."""
    signals.install()
    sys.exit(run(sys.argv[1:]))
