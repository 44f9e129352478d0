#!/usr/bin/env python3
"""A caching Debian mirror on loopback, fit for running the real debian-installer against.

Requests are passed on to the mirror that this machine's apt uses; what was fetched is kept in a
folder, so that a second install downloads nothing. Where that mirror lacks the installer's tree
or some of its components, as snapshots of Debian do, it serves instead:

- the netboot tree (linux, initrd.gz, SHA256SUMS below dists/SUITE/main/installer-ARCH/current/
  images/), out of Debian's own debian-installer-*-netboot-* package: the newest build whose
  kernel modules the mirror has;
- an index of components that names, of each, the newest build the mirror has, and leaves out
  those of which it has none. The Release file is then hashed anew and no longer signed: a
  preseed needs `d-i debian-installer/allow_unauthenticated boolean true`.

    debian-mirror.py --cache DIR [--port 3142] [--suite trixie] [--arch amd64] [--upstream URL]
    debian-mirror.py --probe        exits 0, and prints its URL, if apt's mirror needs none of this

Once it serves it prints `ready on HOST:PORT, ...`; with --port 0 the port is one that is free.
The mirror is then http://HOST:PORT/debian; http://10.0.2.2:PORT/debian from a guest in QEMU's user
network. http://HOST:PORT/unsigned/debian is the same without InRelease and Release.gpg: Debian's
signatures do not vouch for the tree that is served here, and a program that knows Debian's keys
refuses it. What was decided is kept beside the cache for as long as the Release file stays the same.

Faults, for tests; each may be given several times:
    --fail 'grub-installer_.*udeb=404'   answers with that status where the regex matches the path
    --stall 'Packages.xz'                takes the request and never answers
    --truncate 'linux-image-.*deb'       sends half of the body, then closes
    --pause 'libc6_.*deb=240'            sends half of the body, and the rest so many seconds later
    --page 'dists/.*'                    answers with a web page, as a portal does that wants a login
    --damage 'libc6_.*deb'               sends as many bytes, but other ones at the end
    --slow 200K                          sends so many bytes a second over each connection
"""
import argparse
import concurrent.futures
import glob
import gzip
import hashlib
import http.client
import http.server
import json
import lzma
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request

# Raised when what is decided below changes its form.
FORMAT = 2


def main():
    args = arguments()
    args.upstream = (args.upstream or apt_upstream()).rstrip("/")
    if args.probe:
        sys.exit(probe(args.upstream, args.suite, args.arch))
    os.makedirs(args.cache, exist_ok=True)
    key, changed = kept_overlay(args.upstream, args.cache, args.suite, args.arch)
    serve(args, key, changed)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--listen", default="127.0.0.1", help="the address to listen at")
    p.add_argument("--port", type=int, default=3142, help="0 for one that is free")
    p.add_argument("--cache", help="the folder for what was fetched")
    p.add_argument("--suite", default="trixie")
    p.add_argument("--arch", default="amd64")
    p.add_argument("--upstream", help="the mirror behind this one; apt's where not given")
    p.add_argument("--probe", action="store_true", help="only look whether apt's mirror is complete")
    p.add_argument("--slow", type=rate, help="bytes a second, with K or M")
    for fault in ("--fail", "--stall", "--truncate", "--pause", "--page", "--damage"):
        p.add_argument(fault, action="append", default=[], metavar="REGEX")
    args = p.parse_args()
    if not args.probe and not args.cache:
        p.error("--cache is required")
    for rule in args.fail:
        if not re.search(r"=\d{3}$", rule):
            p.error(f"--fail {rule}: write REGEX=STATUS")
    for rule in args.pause:
        if not re.search(r"=\d+$", rule):
            p.error(f"--pause {rule}: write REGEX=SECONDS")
    return args


def rate(text):
    found = re.fullmatch(r"(\d+)([KM]?)", text)
    if not found or not int(found.group(1)):
        raise argparse.ArgumentTypeError(f"{text}: write a number of bytes a second, such as 200K")
    return int(found.group(1)) << {"": 0, "K": 10, "M": 20}[found.group(2)]


def apt_upstream():
    """The first archive in apt's own configuration."""
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        try:
            with open(path) as f:
                text = f.read()
        except OSError:
            continue
        for pattern in (r"^URIs:\s*(\S+)", r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)"):
            found = re.search(pattern, text, re.M)
            if found and found.group(1).startswith("http"):
                return found.group(1).rstrip("/")
    sys.exit("no apt source found: name the mirror with --upstream")


# The mirror behind this one.

def fetch(url, timeout=120):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read()


def exists(url):
    request = urllib.request.Request(url, method="HEAD")
    for pause in (0.5, 2, None):
        try:
            with urllib.request.urlopen(request, timeout=60):
                return True
        except urllib.error.HTTPError as error:
            if error.code < 500 or pause is None:
                return False
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)


def download(url, path):
    """Puts a file in its place in one step, so that no reader sees half of it."""
    part = f"{path}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        with urllib.request.urlopen(url, timeout=120) as reply, open(part, "wb") as f:
            shutil.copyfileobj(reply, f)
            announced = reply.headers.get("Content-Length")
            if announced and f.tell() != int(announced):
                raise OSError(f"{url} ended after {f.tell()} of {announced} bytes")
        os.rename(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def installer_index(upstream, suite, arch):
    path = f"dists/{suite}/main/debian-installer/binary-{arch}/Packages"
    return path, stanzas(lzma.decompress(fetch(f"{upstream}/{path}.xz")).decode())


def tree_of(suite, arch):
    return f"dists/{suite}/main/installer-{arch}/current/images"


# Indexes.

def stanzas(text):
    return [s for s in text.split("\n\n") if s.strip()]


def field(stanza, name):
    found = re.search(rf"^{name}: (.*)$", stanza, re.M)
    return found.group(1) if found else ""


def needed(index, kernel):
    """The standard components and all that they depend on, for one kernel."""
    fitting = [s for s in index if field(s, "Kernel-Version") in ("", kernel)]
    by_name = {}
    for s in fitting:
        for name in [field(s, "Package"), *re.split(r",\s*", field(s, "Provides"))]:
            if name:
                by_name.setdefault(name.split()[0], []).append(s)
    todo = [s for s in fitting if field(s, "Priority") in ("required", "important", "standard")]
    seen = {}
    while todo:
        s = todo.pop()
        if field(s, "Filename") in seen:
            continue
        seen[field(s, "Filename")] = s
        for dependency in re.split(r"[,|]\s*", field(s, "Depends")):
            if dependency.strip():
                todo += by_name.get(dependency.split()[0].split(":")[0], [])
    return list(seen.values())


def missing(upstream, wanted):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        there = pool.map(lambda s: exists(f"{upstream}/{field(s, 'Filename')}"), wanted)
        return [s for s, ok in zip(wanted, there) if not ok]


def kernel_of(initrd):
    found = re.search(rb"lib/modules/(\d[\w.+-]+)/", gzip.decompress(initrd))
    return found.group(1).decode() if found else ""


def installed_in(initrd):
    """The components that an initrd brings along, as pairs of name and version."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cpio", "-id", "--quiet", "var/lib/dpkg/status"], cwd=folder,
                       input=gzip.decompress(initrd), check=True)
        with open(f"{folder}/var/lib/dpkg/status") as f:
            return {(field(s, "Package"), field(s, "Version")) for s in stanzas(f.read())}


# Whether any of this is necessary.

def probe(upstream, suite, arch):
    """0 where the mirror has the installer's tree and all components it needs."""
    netboot = f"{upstream}/{tree_of(suite, arch)}/netboot/debian-installer/{arch}"
    try:
        if not all(exists(f"{netboot}/{leaf}") for leaf in ("linux", "initrd.gz")):
            print(f"no netboot tree of {suite}", file=sys.stderr)
            return 1
        initrd = fetch(f"{netboot}/initrd.gz")
        _, index = installer_index(upstream, suite, arch)
        gone = missing(upstream, needed(index, kernel_of(initrd)))
    except OSError as error:
        print(f"the mirror does not answer: {error}", file=sys.stderr)
        return 1
    for s in gone:
        print("missing", field(s, "Filename"), file=sys.stderr)
    if not gone:
        print(upstream)
    return 1 if gone else 0


# What is served instead.

def kept_overlay(upstream, cache, suite, arch):
    """A key for the Release file, and what is served changed with it: path -> file."""
    release = fetch(f"{upstream}/dists/{suite}/Release")
    key = hashlib.sha256(b"\0".join([str(FORMAT).encode(), upstream.encode(), suite.encode(),
                                     arch.encode(), release])).hexdigest()[:32]
    folder = os.path.join(cache, f"overlay-{key}")
    listing = os.path.join(folder, "files.json")
    if not os.path.exists(listing):
        made = tempfile.mkdtemp(prefix="overlay-", dir=cache)
        try:
            paths = {}
            for path, body in overlay(upstream, cache, suite, arch, release.decode()).items():
                name = hashlib.sha256(path.encode()).hexdigest()
                with open(os.path.join(made, name), "wb") as f:
                    f.write(body)
                paths[path] = name
            with open(os.path.join(made, "files.json"), "w") as f:
                json.dump(paths, f)
            try:
                os.rename(made, folder)
            except OSError:
                # Another one was faster, and decided the same.
                if not os.path.exists(listing):
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    with open(listing) as f:
        return key, {path: os.path.join(folder, name) for path, name in json.load(f).items()}


def overlay(upstream, cache, suite, arch, release):
    """Path -> bytes of what is served changed."""
    base, index = installer_index(upstream, suite, arch)
    tree = tree_of(suite, arch)
    netboot = f"{tree}/netboot/debian-installer/{arch}"
    leaves = ("linux", "initrd.gz")
    files = {}
    boot = None
    if all(exists(f"{upstream}/{netboot}/{leaf}") for leaf in leaves):
        initrd = fetch(f"{upstream}/{netboot}/initrd.gz")
        kernel = kernel_of(initrd)
        modules = [s for s in index if field(s, "Package") == f"ext4-modules-{kernel}-di"]
        if modules and not missing(upstream, modules):
            boot = {"initrd.gz": initrd}
    if boot is None:
        found = [s for s in index if field(s, "Package").startswith("ext4-modules-")]
        gone = {field(s, "Filename") for s in missing(upstream, found)}
        kernels = {field(s, "Kernel-Version") for s in found if field(s, "Filename") not in gone}
        number = re.search(r"^Version: (\d+)", release, re.M).group(1)
        kernel, boot = packaged_netboot(upstream, cache, number, suite, arch, kernels)
        files |= {f"{netboot}/{leaf}": body for leaf, body in boot.items()}
        files[f"{tree}/SHA256SUMS"] = "".join(
            f"{hashlib.sha256(body).hexdigest()}  ./netboot/debian-installer/{arch}/{leaf}\n"
            for leaf, body in boot.items()).encode()
    installed = installed_in(boot["initrd.gz"])
    wanted = [s for s in needed(index, kernel) if (field(s, "Package"), field(s, "Version")) not in installed]
    swapped = {}
    for stanza in missing(upstream, wanted):
        swapped[stanza] = repaired(upstream, stanza)
        print("repaired" if swapped[stanza] else "left out", field(stanza, "Filename"), flush=True)
    if not swapped:
        return files
    plain = ("\n\n".join(kept for s in index if (kept := swapped.get(s, s))) + "\n").encode()
    indexes = {base: plain, f"{base}.gz": gzip.compress(plain, mtime=0), f"{base}.xz": lzma.compress(plain)}
    for path, body in indexes.items():
        short = path.split("/", 2)[2]
        for algorithm, length in (("md5", 32), ("sha256", 64)):
            digest = hashlib.new(algorithm, body).hexdigest()
            release = re.sub(rf"^ [0-9a-f]{{{length}}}\s+\d+ {re.escape(short)}$",
                             f" {digest} {len(body)} {short}", release, flags=re.M)
    return files | indexes | {f"dists/{suite}/Release": release.encode()}


def packaged_netboot(upstream, cache, number, suite, arch, kernels):
    """linux and initrd.gz of the newest packaged build that fits one of the kernels."""
    index = lzma.decompress(fetch(f"{upstream}/dists/{suite}/main/binary-all/Packages.xz")).decode()
    name = f"debian-installer-{number}-netboot-{arch}"
    path = next((field(s, "Filename") for s in stanzas(index) if field(s, "Package") == name), None)
    found = path and re.search(r"(.*deb\d+u)(\d+)(_all\.deb)$", path)
    candidates = [f"{found.group(1)}{n}{found.group(3)}" for n in range(int(found.group(2)), 0, -1)] if found else [path]
    for candidate in filter(None, candidates):
        kept = os.path.join(cache, os.path.basename(candidate))
        if not os.path.exists(kept):
            if not exists(f"{upstream}/{candidate}"):
                continue
            download(f"{upstream}/{candidate}", kept)
        inside = f"./usr/lib/debian-installer/images/{number}/{arch}/text/debian-installer/{arch}"
        files = members(kept, {f"{inside}/{leaf}": leaf for leaf in ("linux", "initrd.gz")})
        kernel = kernel_of(files["initrd.gz"])
        if kernel in kernels:
            print("netboot ", os.path.basename(candidate), "kernel", kernel, flush=True)
            return kernel, files
    sys.exit(f"no build of {name} fits the components that {suite} has at the mirror")


def members(package, wanted):
    """The files of a package, read in one go."""
    files = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
        with tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar:
            for member in tar:
                if member.name in wanted:
                    files[wanted[member.name]] = tar.extractfile(member).read()
                if len(files) == len(wanted):
                    break
        unpacked.kill()
    return files


def repaired(upstream, stanza):
    """The same component at the newest older rebuild (+bN) that the mirror has, or None."""
    name = field(stanza, "Filename")
    found = re.search(r"\+b(\d+)_", name)
    for n in range(int(found.group(1)) - 1 if found else -1, -1, -1):
        older = name.replace(found.group(0), f"+b{n}_" if n else "_")
        if exists(f"{upstream}/{older}"):
            body = fetch(f"{upstream}/{older}")
            for key, value in (("Filename", older), ("Size", str(len(body))),
                               ("MD5sum", hashlib.md5(body).hexdigest()),
                               ("SHA256", hashlib.sha256(body).hexdigest())):
                stanza = re.sub(rf"^{key}: .*$", f"{key}: {value}", stanza, flags=re.M)
            return stanza
    return None


# The server.

# What is in the pool, and what is named by its digest, never changes.
UNCHANGING = re.compile(r"^pool/|/by-hash/")
# For so many seconds the index of another suite is not asked for again.
FRESH = 600
SIGNATURES = re.compile(r"^dists/.*/(InRelease|Release\.gpg)$")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # An installer opens many connections at once.
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def serve(args, key, changed):
    # What was decided fits the indexes that were there: they are served as long.
    ours = f"dists/{args.suite}/"
    locks, guard = {}, threading.Lock()

    def fetched(path):
        """The kept copy of a path, and its status."""
        is_frozen = UNCHANGING.search(path) or path.startswith(ours)
        name = f"{key}/{path}" if path.startswith(ours) else path
        kept = os.path.join(args.cache, hashlib.sha256(name.encode()).hexdigest())
        with guard:
            lock = locks.setdefault(kept, threading.Lock())
        with lock:
            is_here = os.path.exists(kept)
            if is_here and (is_frozen or time.time() - os.path.getmtime(kept) < FRESH):
                return kept, 200
            try:
                download(f"{args.upstream}/{path}", kept)
            except urllib.error.HTTPError as error:
                print("MISS ", error.code, path, flush=True)
                return None, error.code
            except (OSError, http.client.HTTPException) as error:
                if is_here:
                    return kept, 200
                print("ERROR", error, path, flush=True)
                return None, 502
            return kept, 200

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = re.sub(r"^(https?://[^/]+)?/", "", self.path)
            path, n = re.subn(r"^unsigned/", "", path)
            path = re.sub(r"^debian(-security)?/", "", path)
            if n and SIGNATURES.search(path):
                print("MISS ", 404, path, flush=True)
                return self.empty(404)
            for rule in args.fail:
                pattern, status = rule.rsplit("=", 1)
                if re.search(pattern, path):
                    print("FAULT", status, path, flush=True)
                    return self.empty(int(status))
            if any(re.search(p, path) for p in args.stall):
                print("STALL", path, flush=True)
                time.sleep(86400)
            if any(re.search(p, path) for p in args.page):
                print("PAGE ", path, flush=True)
                return self.page()
            kept, status = (changed[path], 200) if path in changed else fetched(path)
            if kept is None:
                return self.empty(status)
            with open(kept, "rb") as f:
                self.send(path, f, os.fstat(f.fileno()))

        do_HEAD = do_GET

        def empty(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def page(self):
            body = b"<!DOCTYPE html><title>Welcome</title><p>Log in to use this network."
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def send(self, path, f, stat):
            etag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
            first, until, status = 0, stat.st_size, 200
            if self.headers.get("If-None-Match") == etag:
                self.send_response(304)
                self.send_header("ETag", etag)
                return self.end_headers()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted and self.headers.get("If-Range", etag) == etag:
                first = int(wanted.group(1))
                until = min(until, int(wanted.group(2)) + 1) if wanted.group(2) else until
                if first >= until:
                    return self.empty(416)
                status = 206
            print("OK   ", until - first, path, flush=True)
            self.send_response(status)
            self.send_header("Content-Length", str(until - first))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{until - 1}/{stat.st_size}")
            self.end_headers()
            if self.command == "HEAD":
                return
            left = until - first
            if any(re.search(p, path) for p in args.truncate):
                left //= 2
                self.close_connection = True
            pause = next((rule for rule in args.pause if re.search(rule.rsplit("=", 1)[0], path)), None)
            damaged = any(re.search(p, path) for p in args.damage)
            f.seek(first)
            began, sent, half = time.monotonic(), 0, left // 2
            while left and (piece := f.read(min(left, 16384 if args.slow else 1 << 20))):
                if pause and sent + len(piece) > half:
                    piece = piece[: max(half - sent, 1)]
                    f.seek(first + sent + len(piece))
                left -= len(piece)
                sent += len(piece)
                if damaged and not left:
                    piece = piece[:-1] + bytes([piece[-1] ^ 1])
                self.wfile.write(piece)
                if pause and sent >= half:
                    seconds = int(pause.rsplit("=", 1)[1])
                    print("PAUSE", seconds, path, flush=True)
                    time.sleep(seconds)
                    pause = None
                if args.slow:
                    time.sleep(max(0, sent / args.slow - (time.monotonic() - began)))

        def log_message(self, *_):
            pass

    if ":" in args.listen:
        Server.address_family = socket.AF_INET6
    server = Server((args.listen, args.port), Handler)
    host, port = server.server_address[:2]
    print(f"ready on {host}:{port}, {len(changed)} files served changed", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
