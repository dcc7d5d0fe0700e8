"""A box: a Debian in a folder whose PID 1 is a real systemd, for tests of the unit and of its installation.

    sudo python -m tests.real.box DIR [RELEASE]    make the folder, once: two minutes, 400 MB, from our own mirror

RELEASE is a Debian: bookworm has systemd 252, trixie 257, which is less patient; by default it is this machine's own.

Needs Linux, root, and the Debian packages debootstrap and systemd-container. A box boots in seconds and has a network
of its own with nobody in it; what is written inside is thrown away at its end. Memory limits are not enforced in it
where control groups of version 1 belong to the machine.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PACKAGES: Final = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "procps",
    "python3",
    "python3-venv",
    "mosquitto",
    "mosquitto-clients",
)
NEEDED: Final = ("debootstrap", "systemd-nspawn", "nsenter")
BOOT_SECONDS: Final = 120.0
OFF_SECONDS: Final = 30.0

# nspawn runs in a control group of its own in each hierarchy that it writes to, which can be removed afterwards; else
# it leaves some of its own behind, and its next start fails.
_START: Final = """
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [ -d $hierarchy ] || continue
  mkdir -p $hierarchy/earshot-box-$$ && echo $$ > $hierarchy/earshot-box-$$/cgroup.procs
done
exec systemd-nspawn "$@"
"""


def missing() -> str | None:
    """Return why no box can be made or started here, or None."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "a box needs Linux and root"
    absent = [name for name in NEEDED if shutil.which(name, path=_PATH) is None]
    return f"a box needs {', '.join(absent)}: apt-get install debootstrap systemd-container" if absent else None


def build(folder: Path, release: str | None = None, packages: Sequence[str] = PACKAGES) -> None:
    """Make the folder of a box: a release of Debian, this machine's own where none is named."""
    own = platform.freedesktop_os_release()["VERSION_CODENAME"]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release or own, str(folder)]
    subprocess.run([*command, *_mirror(own)], check=True, stdin=subprocess.DEVNULL, env=_environment())
    (folder / "etc/machine-id").write_text("")  # systemd makes one at each boot
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")  # what an installer would have written


def python_of(folder: Path) -> str:
    """Return the version of the Python in a box, such as 3.13."""
    (library,) = (folder / "usr/lib").glob("python3.*")
    return library.name.removeprefix("python")


class Box:
    """A box that runs from `with` to the end of the block."""

    def __init__(self, folder: Path, scratch: Path, *, shown: Mapping[Path, str]) -> None:
        """Start nothing.

        folder   what `build` made; it is only read
        scratch  an empty folder for what the box writes; it is of no use afterwards
        shown    folders of this machine, each with its path inside, where it can only be read
        """
        self._folder = folder
        self._scratch = scratch
        self._root = scratch / "root"
        self._log = scratch / "log"
        self._shown = shown
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("root", "written", "work"):
            (self._scratch / name).mkdir()
        layers = f"lowerdir={self._folder},upperdir={self._scratch}/written,workdir={self._scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self._root)], check=True)
        options = ["--boot", "--register=no", "--keep-unit", "--private-network", "--console=read-only", "--quiet"]
        options += [f"--bind-ro={outside}:{inside}" for outside, inside in self._shown.items()]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", _START, "sh", f"--directory={self._root}", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        try:
            self._wait_until_booted(self._nspawn)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a command inside, as root, to its end; return what it printed, stderr included.

        Raises AssertionError with all of that if it fails, unless `check` is false.
        """
        inside = ["nsenter", f"--target={self._leader()}", *["-m", "-u", "-i", "-n", "-p", "-C", "--"]]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*inside, *clean, *command],
            input=stdin or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=_environment(),
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def write(self, path: str, text: str, *, mode: str = "0644") -> None:
        """Write a file inside."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def files(self) -> set[str]:
        """Return every path inside that would outlive a reboot."""
        found = self.run("find", "/", "-xdev", "-not", "-path", "/tmp/*", "-not", "-path", "/var/tmp/*")
        return set(found.splitlines())

    def _leader(self) -> int:
        """Return the number, on this machine, of the box's PID 1."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"the box has no process: {self._log.read_text(errors='replace')}")
        return int(children[0])

    def _wait_until_booted(self, nspawn: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + BOOT_SECONDS
        state = "not started"
        while nspawn.poll() is None and time.monotonic() < end:
            try:
                state = self.run("systemctl", "is-system-running", check=False).strip()
            except (RuntimeError, OSError) as error:
                state = str(error)
            if state in {"running", "degraded"}:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the box does not boot ({state}): {self._log.read_text(errors='replace')}")

    def _end(self) -> None:
        assert self._nspawn is not None
        self._nspawn.terminate()  # nspawn tells PID 1 to shut down
        try:
            self._nspawn.wait(OFF_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self._leader(), signal.SIGKILL)  # and so everything inside
            self._nspawn.kill()
            self._nspawn.wait()
        for hierarchy in ("systemd", "unified"):
            _remove_groups(Path(f"/sys/fs/cgroup/{hierarchy}/earshot-box-{self._nspawn.pid}"))
        subprocess.run(["umount", str(self._root)], check=True)
        shutil.rmtree(self._scratch / "written")


def _remove_groups(group: Path) -> None:
    """Remove a control group and those below it, as soon as the last process in them is gone."""
    end = time.monotonic() + OFF_SECONDS
    while group.is_dir():
        try:
            for path in sorted(group.rglob("*/"), reverse=True):
                path.rmdir()
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{_PATH}:{os.environ.get('PATH', '')}"}


def _mirror(release: str) -> list[str]:
    """Return where this machine's apt gets its own release from, which has the others, too; nothing if it does not say,
    for the usual mirror.
    """
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    told = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[1] for line in told if line.split()[0] == release][:1]


if __name__ == "__main__":
    if why := missing():
        sys.exit(why)
    build(Path(sys.argv[1]), *sys.argv[2:3])
