"""A virtual machine with a kernel of its own on this machine's files, for tests that need the kernel's sound cards.

    sudo python -m tests.real.vm DIR [ARGUMENT...]    pytest inside; by default of tests/real/test_kernel_cards.py

Makes DIR if it is not there, once: the kernel, three minutes, 700 MB. Needs Linux on x86-64, root, and the Debian
packages debootstrap and qemu-system-x86. It boots in ten seconds where the processor is emulated too. Inside, all files
of this machine can be read and none be written, but for /tmp, /run and /dev; there is no network but its own.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.real.box import debian

PACKAGES: Final = ("kmod", "iproute2", "initramfs-tools", "zstd", "linux-image-amd64")
NEEDED: Final = ("debootstrap", "qemu-system-x86_64")
SHARE: Final = "trans=virtio,version=9p2000.L,msize=262144,cache=loose"
DONE: Final = "exit code of the machine's command: "

# PID 1. What is played to one side of Loopback is heard on the other; Dummy has 48 kHz and no other rate.
_INIT: Final = f"""#!/bin/sh
[ -d /sys/class ] || mount -t sysfs sysfs /sys
[ -d /proc/self ] || mount -t proc proc /proc
modprobe snd-aloop pcm_substreams=1
modprobe snd-dummy model=ac97
ip link set lo up
mount -t 9p -o {SHARE},ro host /mnt
for folder in proc sys dev; do mount --rbind /$folder /mnt/$folder; done
for folder in tmp run dev/shm; do mkdir -p /mnt/$folder; mount -t tmpfs tmpfs /mnt/$folder; done
mount -t 9p -o {SHARE},ro command /mnt/run
chroot /mnt sh /run/command
echo "{DONE}$?"
echo o > /proc/sysrq-trigger
sleep 60
"""


def missing() -> str | None:
    """Return why no machine can be made or started here, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or os.getuid() != 0:
        return "the virtual machine needs Linux on x86-64, and root"
    absent = [name for name in NEEDED if shutil.which(name, path=f"/usr/sbin:{os.environ['PATH']}") is None]
    return f"it needs {', '.join(absent)}: apt-get install debootstrap qemu-system-x86" if absent else None


def build(folder: Path) -> None:
    """Make the folder with the machine's kernel and what loads it."""
    debian(folder, PACKAGES)
    with (folder / "etc/initramfs-tools/modules").open("a") as modules:
        modules.write("9p\n9pnet_virtio\nvirtio_pci\n")
    subprocess.run(["chroot", folder, "update-initramfs", "-u"], check=True, stdin=subprocess.DEVNULL)


def run(folder: Path, command: Sequence[str]) -> int:
    """Boot, run a command in the present folder, show what it prints, and return its exit code.

    Raises RuntimeError if the machine does not come so far.
    """
    init = folder / "init-tests"
    init.write_text(_INIT)
    init.chmod(0o755)
    settings = "root=root rootfstype=9p console=ttyS0 quiet panic=-1 init=/init-tests"
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "command").write_text(
            f"cd {shlex.quote(str(Path.cwd()))}\nexport HOME=/tmp PATH={shlex.quote(os.environ['PATH'])}\n"
            f"{shlex.join(command)}\n"
        )
        machine = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", "2G", "-smp", "2"),
                *("-nographic", "-no-reboot", "-nic", "none"),
                *("-kernel", str(next(folder.glob("boot/vmlinuz-*")))),
                *("-initrd", str(next(folder.glob("boot/initrd.img-*")))),
                *("-append", f"{settings} rootflags={SHARE} ro"),
                *_shared(folder, "root"),
                *_shared(Path("/"), "host"),
                *_shared(Path(scratch), "command"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert machine.stdout is not None
        code = None
        for line in machine.stdout:
            if line.startswith(DONE):
                code = int(line.removeprefix(DONE))
            else:
                sys.stdout.write(line)
                sys.stdout.flush()
        machine.wait()
    if code is None:
        raise RuntimeError(f"the virtual machine ended without a word, qemu with {machine.returncode}")
    return code


def _shared(folder: Path, tag: str) -> list[str]:
    filesystem = f"local,id={tag},path={folder},security_model=passthrough,readonly=on,multidevs=remap"
    return ["-fsdev", filesystem, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


if __name__ == "__main__":
    if why := missing():
        sys.exit(why)
    where = Path(sys.argv[1]).absolute()
    if not where.is_dir():
        build(where)
    asked = sys.argv[2:] or ["tests/real/test_kernel_cards.py"]
    sys.exit(run(where, [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-q", *asked]))
