#!/usr/bin/env python3
"""Writes data/preseed/questions.json: the questions debian-installer knows.

Read from the debconf templates of the installer's components (udebs) on a mirror:

    tests/lint/generate_preseed.py http://ftp.debian.org/debian trixie > data/preseed/questions.json

Components that hold nothing but kernel modules are left out.
"""

import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import urllib.request


def fetch(url):
    """The body of a URL."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def control_of(udeb):
    """The control archive of a udeb, as a tar file."""
    at = 8
    while at < len(udeb):
        name = udeb[at : at + 16].decode().strip().rstrip("/")
        size = int(udeb[at + 48 : at + 58])
        if name.startswith("control.tar"):
            body = udeb[at + 60 : at + 60 + size]
            if name.endswith(".zst"):
                body = subprocess.run(["zstd", "-dc"], input=body, capture_output=True, check=True).stdout
            return tarfile.open(fileobj=io.BytesIO(body))
        at += 60 + size + size % 2
    return None


def questions_of(templates):
    """Names and types in a templates file."""
    name = None
    for line in templates.splitlines():
        if line.startswith("Template: "):
            name = line[10:].strip()
        elif line.startswith("Type: ") and name:
            yield name, line[6:].strip()


def main():
    """Prints the questions."""
    mirror, suite = sys.argv[1].rstrip("/"), sys.argv[2]
    index = lzma.decompress(fetch(f"{mirror}/dists/{suite}/main/debian-installer/binary-amd64/Packages.xz"))
    questions = {}
    for stanza in index.decode().split("\n\n"):
        fields = dict(re.findall(r"^(\S+): (.*)$", stanza, re.M))
        name = fields.get("Package", "")
        if not name or "-modules-" in name or name.startswith(("kernel-image", "lib", "fonts-")):
            continue
        try:
            control = control_of(fetch(f"{mirror}/{fields['Filename']}"))
        except OSError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if control is None:
            continue
        for member in control.getmembers():
            if member.name.lstrip("./") == "templates":
                text = control.extractfile(member).read().decode(errors="replace")
                questions.update(questions_of(text))
    kept = {name: kind for name, kind in questions.items() if kind not in ("text", "title", "entropy")}
    print(json.dumps({"source": f"debian-installer of {suite}", "questions": dict(sorted(kept.items()))}, indent=0))


if __name__ == "__main__":
    main()
