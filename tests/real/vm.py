"""A virtual machine with a kernel of its own, for tests that need the kernel's sound cards.

    sudo python -m tests.real.vm DIR [ARGUMENT...]    pytest inside; by default of tests/real/test_kernel_cards.py

Makes DIR if it is not there, once: a Debian with its kernel, four minutes, 900 MB; it will do for a box, too (box.py).
Needs Linux on x86-64, root, and the Debian packages debootstrap and qemu-system-x86. It boots in ten seconds where the
processor is emulated too. Nothing inside can write to this machine, and there is no network but its own.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.real import box

PACKAGES: Final = (
    *box.PACKAGES,
    *("kmod", "udev", "iproute2", "initramfs-tools", "zstd", "linux-image-amd64"),
    *("libportaudio2", "alsa-utils"),
)
NEEDED: Final = ("debootstrap", "qemu-system-x86_64")
SHARE: Final = "trans=virtio,version=9p2000.L,msize=262144,cache=loose"
DONE: Final = "exit code of the command inside: "

# What is played to one side of Loopback is heard on the other; Dummy has 48 kHz and no other rate.
CARDS: Final = "modprobe snd-aloop pcm_substreams=1\nmodprobe snd-dummy model=ac97\n"

# PID 1 of either kind of machine begins so.
_START: Final = """#!/bin/sh
[ -d /sys/class ] || mount -t sysfs sysfs /sys
[ -d /proc/self ] || mount -t proc proc /proc
"""

_ON_OUR_FILES: Final = f"""{_START}{CARDS}
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

_UNDER_SYSTEMD: Final = f"""{_START}
modprobe overlay
mount -t tmpfs tmpfs /tmp
mkdir /tmp/written /tmp/work
mount -t overlay overlay -o lowerdir=/,upperdir=/tmp/written,workdir=/tmp/work /mnt
shown() {{ mkdir -p "/mnt$2"; mount -t 9p -o {SHARE},ro "$1" "/mnt$2"; }}
SHOWN
shown command /command
cat > /mnt/etc/systemd/system/command.service <<END
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /command/command
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStopPost=/bin/sh -c 'echo "{DONE}\\$EXIT_STATUS"; systemctl poweroff --force --force'
END
mkdir -p /mnt/etc/systemd/system/multi-user.target.wants
ln -s ../command.service /mnt/etc/systemd/system/multi-user.target.wants/
ln -s /dev/null /mnt/etc/systemd/system/serial-getty@ttyS0.service
exec switch_root /mnt /lib/systemd/systemd
"""


def missing() -> str | None:
    """Return why no machine can be made or started here, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or os.getuid() != 0:
        return "the virtual machine needs Linux on x86-64, and root"
    absent = [name for name in NEEDED if shutil.which(name, path=f"/usr/sbin:{os.environ['PATH']}") is None]
    return f"it needs {', '.join(absent)}: apt-get install debootstrap qemu-system-x86" if absent else None


def build(folder: Path) -> None:
    """Make the folder of the machine."""
    box.build(folder, packages=PACKAGES)
    with (folder / "etc/initramfs-tools/modules").open("a") as modules:
        modules.write("9p\n9pnet_virtio\nvirtio_pci\n")
    subprocess.run(["chroot", folder, "update-initramfs", "-u"], check=True, stdin=subprocess.DEVNULL)


def run_on_our_files(folder: Path, command: Sequence[str]) -> int:
    """Boot, run a command in the present folder, show what it prints, and return its exit code.

    It sees this machine's own files, and may write to /tmp, /run and /dev. Raises RuntimeError if the virtual machine
    does not come so far.
    """
    script = f"cd {shlex.quote(str(Path.cwd()))}\nexport HOME=/tmp PATH={shlex.quote(os.environ['PATH'])}\n"
    code, _ = _boot(folder, _ON_OUR_FILES, f"{script}{shlex.join(command)}\n", {"host": Path("/")})
    return code


def run_under_systemd(folder: Path, script: str, shown: Mapping[Path, str]) -> tuple[int, str]:
    """Boot the machine's own Debian with systemd, run a shell script as root, and return its exit code and output.

    No sound card is there before `CARDS`. What is written is thrown away.

    shown  folders of this machine, each with its path inside, where it can only be read
    """
    shares = {f"shown{n}": (outside, inside) for n, (outside, inside) in enumerate(shown.items())}
    mounts = "\n".join(f"shown {tag} {shlex.quote(inside)}" for tag, (_, inside) in shares.items())
    init = _UNDER_SYSTEMD.replace("SHOWN", mounts)
    return _boot(folder, init, script, {tag: outside for tag, (outside, _) in shares.items()})


def _boot(folder: Path, init: str, script: str, shares: Mapping[str, Path]) -> tuple[int, str]:
    (folder / "init-tests").write_text(init)
    (folder / "init-tests").chmod(0o755)
    settings = f"root=root rootfstype=9p rootflags={SHARE} ro console=ttyS0 quiet panic=-1 init=/init-tests"
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "command").write_text(script)
        machine = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", "2G", "-smp", "2"),
                *("-nographic", "-no-reboot", "-nic", "none"),
                *("-kernel", str(next(folder.glob("boot/vmlinuz-*")))),
                *("-initrd", str(next(folder.glob("boot/initrd.img-*")))),
                *("-append", settings),
                *_shared(folder, "root"),
                *_shared(Path(scratch), "command"),
                *(word for tag, path in shares.items() for word in _shared(path, tag)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert machine.stdout is not None
        code, said = None, list[str]()
        for line in machine.stdout:
            if line.startswith(DONE):
                code = int(line.removeprefix(DONE))
            else:
                said.append(line)
                sys.stdout.write(line)
                sys.stdout.flush()
        machine.wait()
    if code is None:
        raise RuntimeError(f"the virtual machine ended, qemu with {machine.returncode}: {''.join(said[-20:])}")
    return code, "".join(said)


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
    sys.exit(run_on_our_files(where, [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *asked]))
