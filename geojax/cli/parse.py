"""Arguments to options: tyro, with errors in one line and defaults from a configuration file."""

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Sequence

import tyro

from geojax._core.errors import InputError
from geojax.cli.options import COMMANDS, SYNONYMS, Options, command_type

DESCRIPTION = (
    "Networks, deformations and circuits as priced curves in groups of transformations. "
    "`geojax demo` shows the main job on real data."
)


def parse(arguments: Sequence[str]) -> tuple[str, Options]:
    """Parse a command line.

    Args:
        arguments: without the name of the program.

    Returns:
        The name of the command and its options.

    Raises:
        InputError: unknown command or option (with the nearest known one), or a bad value.
        SystemExit: after `--help`, with code 0.
    """
    arguments = list(arguments)
    first = arguments[0] if arguments else ""
    if first.startswith("-") and not first.startswith(("-h", "--help", "--tyro-")):
        raise InputError(f"{first}: options come after the command, as geojax match ... {first}")
    command = None if first.startswith("-") or not first else first
    defaults: dict[str, Options] = {}
    if command is not None:
        if command not in COMMANDS:
            close = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
            mend = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(COMMANDS)}"
            raise InputError(f"unknown command {command!r}; {mend}")
        _check_names(command, arguments)
        path = _value_of(arguments, "--config")
        if path is not None:
            defaults[command] = _defaults(command, path)
    options = _run_tyro(arguments, command, defaults)
    name = next(name for name, kind in COMMANDS.items() if type(options) is kind)
    return name, options


def option_names(command: str) -> list[str]:
    """The options of a command as they are typed, without the dashes."""
    names = ["help"]
    for field in dataclasses.fields(COMMANDS[command]):
        names.append(field.name.replace("_", "-"))
    return names


def _check_names(command: str, arguments: list[str]) -> None:
    known = option_names(command)
    for word in arguments:
        if not word.startswith("--") or word == "--":
            continue
        name = word[2:].partition("=")[0].replace("_", "-")
        if name in known or name.startswith("tyro-"):
            continue
        synonym = SYNONYMS.get(name)
        close = [synonym] if synonym in known else difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean --{close[0]}?" if close else f"see geojax {command} --help"
        raise InputError(f"unknown option --{name} of geojax {command}; {mend}")


def _value_of(arguments: list[str], option: str) -> str | None:
    for k, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and k + 1 < len(arguments):
            return arguments[k + 1]
    return None


def _defaults(command: str, path: str) -> Options:
    """An instance whose fields come from a file; what is in neither place tyro asks for."""
    kind = COMMANDS[command]
    names = {field.name for field in dataclasses.fields(kind)}
    if "config" not in names:
        raise InputError(f"unknown option --config of geojax {command}; it has no such file")
    # Only needed here, and it takes a moment to import.
    from geojax.cli.config_file import read_config

    values = read_config(path, kind)
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in values and field.default is dataclasses.MISSING
    ]
    options = kind(**{**values, **dict.fromkeys(missing, ""), "config": path})
    for name in missing:
        # A mark for tyro of another type than the field, which the constructor would not take.
        object.__setattr__(options, name, tyro.MISSING)
    return options


def _run_tyro(arguments: list[str], command: str | None, defaults: dict[str, Options]) -> Options:
    """Run tyro and turn its boxes into one line."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                command_type(defaults),
                prog="geojax",
                description=DESCRIPTION,
                args=arguments,
                config=(
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.PositionalMetavarFromFieldName,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stderr.write(caught.getvalue())
            raise
        where = f"geojax {command}" if command else "geojax"
        raise InputError(f"{_flatten(caught.getvalue())}; see {where} --help") from None


def _flatten(box: str) -> str:
    """The text inside tyro's box up to its first rule, on one line."""
    body = [line.strip().strip("│").strip() for line in box.splitlines()]
    if "╭" in box:
        body = [line for line in body if not line.startswith(("╭", "╰"))]
    else:
        # Without Unicode the title is a line of its own, over a rule.
        body = [line for line in body if line][2:]
    lines: list[str] = []
    for line in body:
        if line and not line.strip("─-"):
            break
        lines.append(line)
    text = " ".join(part for part in lines if part)
    value = re.match(r"Error parsing (--\S+): .*?(?:\[|: )('.*?')(?:\]|$)", text)
    if value:
        whole = re.search(r"INT|\bint\b", text)
        words = value[2].strip("'").split("', '")
        bad = next((word for word in words if not _is_number(word, whole)), words[0])
        return f"{value[1]}: {bad!r} is not {'a whole number' if whole else 'a number'}"
    return text.rstrip(".") or "the arguments cannot be understood"


def _is_number(word: str, whole: object) -> bool:
    with contextlib.suppress(ValueError):
        return (int(word) if whole else float(word)) is not None
    return False
