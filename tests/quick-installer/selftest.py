#!/usr/bin/env python3
"""The quick installer under plain QEMU, without imgbuild: does it do what its README says?

    tests/quick-installer/selftest.py FOLDER [NAME...]

FOLDER is what `build` wrote; NAMEs choose among the cases. One machine at a time, software
emulation, about ten seconds a case. Prints a line a case and exits 1 when one fails.
"""

import gzip
import hashlib
import http.server
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import threading
import time

ANSWER = b"#imgbuild-quick\nhostname = box7\nmarker = it arrived\npassword = opensesame\n"
DONE = r"IMGBUILD-DONE\r\n"
OVMF = next((it for it in ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd") if os.path.exists(it)), None)


class Machine:
    """One QEMU with its serial console."""

    def __init__(self, *arguments):
        self.started = time.monotonic()
        self.text = ""
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "1",
             "-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def read(self, pattern, seconds):
        """Reads until the pattern matches (True), or the machine ends or the time is up (False)."""
        deadline = time.monotonic() + seconds
        while not (pattern and re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.process.stdout], [], [], left)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    return False
                self.text += piece.decode(errors="replace")
        return True

    def expect(self, pattern, seconds=90):
        if not self.read(pattern, seconds):
            raise AssertionError(f"{pattern!r} did not come; the console ends with {self.text[-600:]!r}")

    def expect_end(self, seconds=90):
        self.read(None, seconds)
        self.process.wait(timeout=5)

    def expect_silence(self, seconds):
        before = len(self.text)
        self.read(None, seconds)
        assert self.process.poll() is None, "the machine ended"
        assert len(self.text) == before, f"it said {self.text[before:]!r}"

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Bench:
    """What the cases share: a folder, an answer server, the machine of the moment."""

    def __init__(self, built, folder):
        self.built, self.folder = built, folder
        self.served = {"/user-data": ANSWER}
        self.requests = []
        bench = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                bench.requests.append(self.path)
                body = bench.served.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://10.0.2.2:{self.server.server_port}"
        self.machine = None

    def disk(self, mib=1024):
        path = self.folder / "disk.raw"
        path.unlink(missing_ok=True)
        with open(path, "wb") as file:
            file.truncate(mib << 20)
        return path

    def start(self, *arguments):
        if self.machine:
            self.machine.stop()
        self.machine = Machine(*arguments)
        return self.machine

    def install(self, parameters, disk="new", initrd=None, more=()):
        """Starts the installer, by default with an answer file from the server."""
        if disk == "new":
            disk = self.disk()
        drive = ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"] if disk else []
        if "answer=" not in parameters:
            parameters += f" answer={self.url}/user-data"
        return self.start("-kernel", str(self.built / "linux"), "-initrd", str(initrd or self.built / "initrd.gz"),
                          "-append", f"console=ttyS0 tsc=reliable {parameters}", *drive,
                          "-nic", "user,model=virtio-net-pci", *more)

    def boot(self, *more):
        return self.start("-drive", f"file={self.folder / 'disk.raw'},if=virtio,format=raw,snapshot=on", *more)

    def boots_with(self, marker, data, *more):
        machine = self.boot(*more)
        machine.expect(r"quick-system: user-data sha256: \w+\r\n")
        assert f"marker: {marker}\r\n" in machine.text, machine.text[-600:]
        assert f"sha256: {hashlib.sha256(data).hexdigest()}" in machine.text, machine.text[-600:]
        machine.expect(r"[\r\n]box7 login: ")
        return machine


def ok(bench):
    machine = bench.install("")
    machine.expect_end()
    phases = re.findall(r"imgbuild-quick: phase (\S+)", machine.text)
    assert phases == "network components partitioning base-system packages boot-loader end".split(), phases
    assert re.search(DONE, machine.text) and "reboot: Power down" in machine.text
    assert "packages 10/10" in machine.text
    assert "opensesame" not in machine.text
    installed = time.monotonic() - machine.started
    machine = bench.boots_with("it arrived", ANSWER)
    booted = time.monotonic() - machine.started
    machine.type("root")
    machine.expect("Password: ")
    machine.type("opensesame")
    machine.expect(r"~ # ")
    machine.type("poweroff")
    machine.expect_end(30)
    assert "reboot: Power down" in machine.text
    return f"installed in {installed:.1f} s, booted in {booted:.1f} s"


def uefi(bench):
    assert OVMF, "OVMF is missing"
    bench.install("").expect_end()
    bench.boots_with("it arrived", ANSWER, "-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}")


def compressed(bench):
    bench.served["/compressed"] = data = gzip.compress(ANSWER, mtime=0)
    bench.install(f"answer={bench.url}/compressed").expect_end()
    bench.boots_with("it arrived", data)


def config_drive(bench):
    data = b"#imgbuild-quick\nhostname = box7\nmarker = from the drive\n"
    tree = bench.folder / "config"
    (tree / "openstack/latest").mkdir(parents=True)
    (tree / "openstack/latest/user_data").write_bytes(data)
    volume = bench.folder / "config.img"
    subprocess.run(["mkfs.fat", "-C", "-n", "config-2", str(volume), "4096"], check=True, capture_output=True)
    subprocess.run(["mcopy", "-s", "-i", str(volume), str(tree / "openstack"), "::"], check=True)
    drive = ["-drive", f"file={volume},if=virtio,format=raw,readonly=on"]
    # Found without being named, since an empty `answer=` is no answer.
    bench.install("answer=", more=drive).expect_end()
    bench.boots_with("from the drive", data)


def in_the_initrd(bench):
    data = b"#imgbuild-quick\nhostname = box7\nmarker = from the initrd\n"
    (bench.folder / "answers").mkdir()
    (bench.folder / "answers/quick").write_bytes(data)
    archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=b"answers\nanswers/quick\n",
                             cwd=bench.folder, check=True, capture_output=True).stdout
    initrd = bench.folder / "initrd.gz"
    plain = (bench.built / "initrd.gz").read_bytes()
    initrd.write_bytes(plain + bytes(-len(plain) % 4) + archive)
    bench.install("answer=file:/answers/quick", initrd=initrd).expect_end()
    bench.boots_with("from the initrd", data)


def error(bench, pattern, parameters="", **more):
    """Ends with an error line and a poweroff."""
    machine = bench.install(parameters, **more)
    machine.expect_end()
    assert re.search(rf"(?m)^imgbuild-quick: error: {pattern}", machine.text), machine.text[-600:]
    assert "IMGBUILD-DONE" not in machine.text and "reboot: Power down" in machine.text


def no_answer(bench):
    error(bench, r"the answer file could not be fetched from http://\S+ \(.*404 Not Found\)", f"answer={bench.url}/nothing")


def not_an_answer(bench):
    bench.served["/page"] = b"<html>"
    error(bench, "the answer file does not begin with #imgbuild-quick", f"answer={bench.url}/page")


def no_disk(bench):
    error(bench, "no disk", disk=None)


def small_disk(bench):
    error(bench, "the disk is too small: 40 MiB", disk=bench.disk(40))


def unknown_variant(bench):
    error(bench, "the variant nonsense is not known", "variant=nonsense")


def fail(bench):
    bench.served["/fail"] = ANSWER + b"variant = fail\n"
    error(bench, "base system: ", f"answer={bench.url}/fail")


def fail_hang(bench):
    machine = bench.install("variant=fail-hang")
    machine.expect(r"imgbuild-quick: error: .*\r\n")
    machine.expect_silence(5)


def hang(bench):
    machine = bench.install("variant=hang")
    machine.expect(r"phase base-system\r\n")
    machine.expect_silence(8)


def ask(bench):
    machine = bench.install("variant=ask")
    machine.expect(r"imgbuild-quick: question disk: which disk is to be erased\?\r\nPrompt: \[/dev/vda\] $")
    machine.expect_silence(5)


def reboot(bench):
    machine = bench.install("variant=reboot")
    machine.expect_end()
    assert re.search(DONE, machine.text) and "reboot: Restarting system" in machine.text


def halt(bench):
    machine = bench.install("variant=halt")
    machine.expect("reboot: System halted")
    machine.expect_silence(5)
    assert re.search(DONE, machine.text)


def panic(bench):
    machine = bench.install("variant=panic")
    machine.expect("Kernel panic - not syncing: sysrq triggered crash")
    assert "IMGBUILD-DONE" not in machine.text


def panic_seen(bench):
    machine = bench.install("variant=panic", more=["-device", "pvpanic-pci", "-action", "panic=shutdown"])
    machine.expect_end()


def unbootable(bench):
    machine = bench.install("variant=unbootable")
    machine.expect_end()
    assert re.search(DONE, machine.text)
    machine = bench.boot()
    assert not machine.read("SYSLINUX|Linux version", 8), machine.text
    assert machine.process.poll() is None


def no_login(bench):
    bench.install("variant=no-login").expect_end()
    machine = bench.boot()
    machine.expect("Kernel panic")
    assert "login:" not in machine.text


def slow(bench):
    bench.served["/slow"] = ANSWER + b"variant = slow\npackages = 4\n"
    machine = bench.install(f"answer={bench.url}/slow")
    machine.expect("packages 1/4")
    first = time.monotonic()
    machine.expect("packages 4/4")
    assert time.monotonic() - first > 7, "too fast"
    machine.expect_end()
    assert re.search(DONE, machine.text)


def early_poweroff(bench):
    machine = bench.install("variant=early-poweroff")
    machine.expect_end()
    assert "phase partitioning" in machine.text and "phase base-system" not in machine.text
    assert "IMGBUILD-DONE" not in machine.text and "reboot: Power down" in machine.text


def no_answer_fetch(bench):
    bench.requests.clear()
    machine = bench.install("variant=no-answer-fetch")
    machine.expect_end()
    assert re.search(DONE, machine.text) and not bench.requests, bench.requests
    machine = bench.boot()
    machine.expect(r"[\r\n]quick login: ")
    assert "sha256: none" in machine.text


CASES = [ok, uefi, compressed, config_drive, in_the_initrd, no_answer, not_an_answer, no_disk, small_disk,
         unknown_variant, fail, fail_hang, hang, ask, reboot, halt, panic, panic_seen, unbootable, no_login, slow,
         early_poweroff, no_answer_fetch]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    chosen = [it for it in CASES if it.__name__ in sys.argv[2:]] if sys.argv[2:] else CASES
    n_failed = 0
    for case in chosen:
        with tempfile.TemporaryDirectory(prefix="quick-installer-") as folder:
            bench = Bench(pathlib.Path(sys.argv[1]), pathlib.Path(folder))
            started = time.monotonic()
            try:
                note = case(bench) or ""
                print(f"ok   {case.__name__:16} {time.monotonic() - started:5.1f} s  {note}", flush=True)
            except (AssertionError, subprocess.SubprocessError) as failure:
                n_failed += 1
                print(f"FAIL {case.__name__:16} {failure}", flush=True)
            finally:
                if bench.machine:
                    bench.machine.stop()
                bench.server.shutdown()
    print(f"{len(chosen) - n_failed} of {len(chosen)} cases passed")
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main()
