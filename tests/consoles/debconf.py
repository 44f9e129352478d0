#!/usr/bin/env python3
"""Writes data/console/debconf.toml from the templates of installer components.

usage: debconf.py FOLDER > data/console/debconf.toml

FOLDER holds *.udeb files of one release (pool/main/... of a mirror, as named in
dists/SUITE/main/debian-installer/binary-amd64/Packages.xz). Only the English
one-line texts are taken, and only of questions and errors.
"""

import io
import json
import lzma
import pathlib
import re
import subprocess
import sys
import tarfile

SKIP = re.compile(r"rescue|kickseed|cros|depthcharge|live-|ppp|console-keymaps|babelbox|brltty|espeak|edu")
PHASES = [
    (r"localechooser|console-setup|netcfg|ethdetect|preseed|hw-detect|network", "network"),
    (r"anna|net-retriever|choose-mirror|cdrom|load-|media-|iso-scan|download-installer", "components"),
    (r"partman|disk-detect|lvmcfg|mdcfg|driver-injection", "partitioning"),
    (r"bootstrap-base|base-installer|user-setup|clock-setup|tzsetup", "base-system"),
    (r"apt-|pkgsel", "packages"),
    (r"grub|systemd-boot|nobootloader", "boot-loader"),
    (r"finish-install|di-utils-reboot|save-logs", "end"),
]
CAUSES = [
    (r"netcfg|ethdetect|network-console", "network"),
    (r"anna|retriever|choose-mirror|apt-mirror|apt-setup|cdrom|iso-scan|debootstrap/error/", "mirror"),
    (r"partman|disk-detect|lvmcfg|mdcfg", "storage"),
    (r"bootstrap-base|base-installer|pkgsel", "package"),
    (r"grub|systemd-boot|nobootloader", "boot"),
    (r"preseed|user-setup", "answer-file"),
    (r"lowmem", "memory"),
]
# What a preseed has to say, where it is not the name of the question itself. None:
# debian-installer.toml knows more of it than its template says.
ANSWERS = {
    "partman-auto/select_disk": "d-i partman-auto/disk string /dev/vda",
    "partman-auto/init_automatically_partition": "d-i partman-auto/method string regular",
    "partman-auto/automatically_partition": "d-i partman-auto/method string regular",
    "partman-auto/choose_recipe": "d-i partman-auto/choose_recipe select atomic",
    "partman/choose_partition": "d-i partman/choose_partition select finish",
    "partman-basicfilesystems/no_swap": "d-i partman-basicfilesystems/no_swap boolean false",
    "passwd/root-password": "d-i passwd/root-password-crypted password ...",
    "passwd/root-password-again": "d-i passwd/root-password-again password ...",
    "passwd/user-password": "d-i passwd/user-password-crypted password ...",
    "passwd/make-user": "d-i passwd/make-user boolean false",
    "grub-installer/bootdev": "d-i grub-installer/bootdev string default",
    "grub-installer/choose_bootdev": "d-i grub-installer/bootdev string default",
    "mirror/http/proxy": "d-i mirror/http/proxy string",
    "mirror/http/countries": "d-i mirror/country string manual",
    "pkgsel/update-policy": "d-i pkgsel/update-policy select none",
    "netcfg/choose_interface": "d-i netcfg/choose_interface select auto",
    "keyboard-configuration/layout": "d-i keyboard-configuration/xkb-keymap select us",
    "localechooser/languagelist": "d-i debian-installer/locale string en_US.UTF-8",
    "debian-installer/language": "d-i debian-installer/locale string en_US.UTF-8",
    "localechooser/supported-locales": "d-i debian-installer/locale string en_US.UTF-8",
    "anna/no_kernel_modules": None,
    "base-installer/kernel/image": "d-i base-installer/kernel/image string linux-image-amd64",
    "debian-installer/main-menu": None,
    "retriever/net/error": None,
    "apt-setup/mirror/error": None,
    "mirror/no-default": None,
    "netcfg/dhcp_options": None,
    "netcfg/dhcp_failed": None,
}


def first(table, *texts):
    for pattern, value in table:
        if any(re.search(pattern, it) for it in texts):
            return value
    return None


def templates(udeb):
    listing = subprocess.run(["ar", "p", udeb, "control.tar.xz"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(listing))) as control:
        for member in control:
            if member.name.endswith("templates"):
                text = control.extractfile(member).read().decode("utf-8", "replace")
                for block in text.split("\n\n"):
                    fields = dict(re.findall(r"^(Template|Type|Description): (.*)$", block, re.M))
                    if len(fields) == 3:
                        yield fields["Template"], fields["Type"], fields["Description"].strip()


def main():
    found = {}
    for udeb in sorted(pathlib.Path(sys.argv[1]).glob("*.udeb")):
        package = udeb.name.split("_")[0]
        if SKIP.search(package):
            continue
        for name, kind, text in templates(udeb):
            fixed = re.sub(r"\$\{[^}]*\}", "", text)
            if kind not in ("boolean", "select", "multiselect", "string", "password", "note", "error"):
                continue
            if "internal use" in text or len(max(re.split(r"[^\w ]", fixed), key=len).strip()) < 6:
                continue
            if kind not in ("error", "note") and not text.endswith((":", "?", "!", ".")):
                continue
            if ANSWERS.get(name, name) is None:
                continue
            found.setdefault((text, kind == "error"), []).append((name, kind, package))
    print("# The questions and errors of debian-installer with the text they show.")
    print("# Made by tests/consoles/debconf.py from the components of Debian 13.")
    for (text, error), users in sorted(found.items(), key=lambda it: (it[1][0][2], it[1][0][0])):
        users = list(dict.fromkeys(users))
        # The one that preseeds are written for comes first.
        users.sort(key=lambda it: it[0] not in ANSWERS)
        name, kind, package = users[0]
        others = sorted({it[0] for it in users} - {name})
        phase = first(PHASES, package, name)
        cause = (first(CAUSES, name, package) or "installer") if error else "answer-file"
        print("\n[[question]]")
        print(f"name = {json.dumps(name)}")
        if others:
            print(f"others = {json.dumps(others)}")
        print(f"kind = {json.dumps(kind)}")
        print(f"text = {json.dumps(text, ensure_ascii=False)}")
        print(f"package = {json.dumps(package)}")
        if phase:
            print(f"phase = {json.dumps(phase)}")
        print(f"cause = {json.dumps(cause)}")
        if ANSWERS.get(name):
            print(f"answer = {json.dumps(ANSWERS[name])}")


main()
