#!/usr/bin/env python3
"""Prints pykickstart's verdict on each kickstart for each release, a JSON line each.

    verdicts.py RELEASE,RELEASE… FILE…

`lines` are those it has something against; `stopped` is where it gave up on the
whole file, after which nothing is known.
"""

import contextlib
import io
import json
import re
import sys
import warnings

from pykickstart.errors import KickstartParseError, KickstartParseWarning
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion, versionMap


class Verdict(KickstartParser):
    """Keeps errors instead of printing them."""

    def __init__(self, handler):
        self.errors = []
        super().__init__(handler, followIncludes=False, errorsAreFatal=False)

    def _tryFunc(self, fn):
        try:
            fn()
        except KickstartParseError as error:
            found = re.search(r"line (\d+)", str(error))
            self.errors.append((error.lineno or (int(found[1]) if found else None), str(error)))
        except Exception as error:  # pylint: disable=broad-except
            found = re.search(r"line (\d+)", str(error))
            self.errors.append((int(found[1]) if found else None, repr(error)))


def main():
    """Prints the verdicts."""
    for name in sys.argv[1].split(","):
        for path in sys.argv[2:]:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            parser = Verdict(makeVersion(versionMap[name]))
            stopped = None
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                warnings.filterwarnings(action="error", category=KickstartParseWarning)
                try:
                    parser.readKickstartFromString(text)
                except Exception as error:  # pylint: disable=broad-except
                    stopped = str(error)
            print(
                json.dumps(
                    {
                        "release": name,
                        "file": path,
                        "lines": sorted({line for line, _ in parser.errors if line}),
                        "unplaced": [why for line, why in parser.errors if not line],
                        "messages": {str(line): why for line, why in parser.errors},
                        "stopped": stopped,
                    }
                )
            )


if __name__ == "__main__":
    main()
