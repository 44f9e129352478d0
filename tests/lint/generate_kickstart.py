#!/usr/bin/env python3
"""Writes data/kickstart/commands.json: what each release's kickstart commands take.

Read from pykickstart (3.78 from PyPI), the reference, by asking the parser of each
command of each release for its options.

    python3 -m venv VENV && VENV/bin/pip install pykickstart==3.78
    VENV/bin/python tests/lint/generate_kickstart.py > data/kickstart/commands.json
"""

import argparse
import importlib.metadata
import json
import warnings

from pykickstart.base import DeprecatedCommand, RemovedCommand
from pykickstart.options import ksboolean
from pykickstart.parser import KickstartParser
from pykickstart.version import F8, makeVersion, versionMap

warnings.simplefilter("ignore")

# Installers that nobody installs with any more, and names for others.
SKIPPED = {"DEVEL", "FC3", "FC4", "FC5", "FC6", "F7", "F8", "F9", "RHEL3"}


def type_of(action):
    """The type of a value as far as it is checked while options are read."""
    if action.type is None:
        return None
    if action.type is int:
        return "int"
    if action.type is float:
        return "float"
    if action.type is ksboolean:
        return "bool"
    return getattr(action.type, "__name__", "other").strip("_") or "other"


def action_of(action):
    """One option or positional argument."""
    found = {"names": list(action.option_strings)}
    if not action.option_strings:
        found = {"dest": action.dest}
    nargs = action.nargs
    if nargs == argparse.REMAINDER:
        nargs = "..."
    if isinstance(action, argparse._StoreConstAction):  # pylint: disable=protected-access
        nargs = 0
    if nargs is not None:
        found["nargs"] = nargs
    if type_of(action):
        found["type"] = type_of(action)
    if action.choices:
        found["choices"] = [str(choice) for choice in action.choices]
    if action.required and action.option_strings:
        found["required"] = True
    if getattr(action, "deprecated", False):
        found["deprecated"] = True
    return found


def parser_of(parser):
    """All that one command takes."""
    actions = [action_of(it) for it in parser._actions]  # pylint: disable=protected-access
    groups = [
        {
            "names": [it.option_strings[0] for it in group._group_actions if it.option_strings],
            "required": group.required,
        }
        for group in parser._mutually_exclusive_groups  # pylint: disable=protected-access
    ]
    found = {
        "options": [it for it in actions if "names" in it],
        "positional": [it for it in actions if "names" not in it],
    }
    if groups:
        found["groups"] = groups
    return found


class Table:
    """Values by number, each once."""

    def __init__(self):
        self.values = []
        self.numbers = {}

    def number(self, value):
        """The number of a value."""
        key = json.dumps(value, sort_keys=True)
        if key not in self.numbers:
            self.numbers[key] = len(self.values)
            self.values.append(value)
        return self.numbers[key]


def ancestry(command):
    """The classes a command's rules come from, the newest first."""
    return [it.__name__ for it in type(command).__mro__ if it.__module__.startswith("pykickstart.commands")]


def main():
    """Prints the table."""
    parsers, classes = Table(), Table()
    versions = {}
    for name, number in versionMap.items():
        if name in SKIPPED:
            continue
        handler = makeVersion(number)
        commands = {}
        for word, command in sorted(handler.commands.items()):
            entry = {"classes": classes.number(ancestry(command))}
            if isinstance(command, RemovedCommand):
                entry["is"] = "removed"
            elif isinstance(command, DeprecatedCommand):
                entry["is"] = "deprecated"
            if getattr(command, "op", None) is not None:
                entry["parser"] = parsers.number(parser_of(command.op))
            commands[word] = entry
        sections = {}
        for word, section in sorted(KickstartParser(handler)._sections.items()):  # pylint: disable=protected-access
            parser = section._getParser() if hasattr(section, "_getParser") else None  # pylint: disable=protected-access
            sections[word] = None if parser is None else parsers.number(parser_of(parser))
        versions[name] = {
            "number": number,
            "needs-end": number >= F8,
            "commands": commands,
            "sections": sections,
        }
    print(
        json.dumps(
            {
                "source": f"pykickstart {importlib.metadata.version('pykickstart')}",
                "versions": versions,
                "classes": classes.values,
                "parsers": parsers.values,
            },
            separators=(",", ":"),
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
