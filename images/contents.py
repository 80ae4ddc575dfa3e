"""What is in a cell's image, as values: packages, files, kernel modules of the first stage, what is taken out again."""

from __future__ import annotations

import msgspec

SUITE = "trixie"
PACKAGES = (
    "acpid",  # the cloud's wish to power off is a press of the power button
    "ca-certificates",
    "conmon",
    "crun",
    "iproute2",
    "kmod",
    "mount",  # folders of NFS servers; the kernel's package has the client
    "libstdc++6",  # of the agent's compiled protobuf, which without it would be Python, slow and large
    "nftables",
    "openssl",
    "python3",
    "systemd-repart",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
)
KERNELS = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
# What assembles a disk comes from the same suite as what is on it, so that the baking machine's own versions are
# indifferent; it is of the baking machine's architecture, since what it makes is the same on each.
TOOLS = (
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "grub-common",
    "kmod",
    "libarchive13t64",
    "mtools",
    "patchelf",
    "python3",  # compiles the cell's
    "systemd",  # enables the cell's units
)
# Of the disk's architecture, and taken as files: nothing of it is run here. busybox is the first stage's shell.
BOOTING = {
    "amd64": ("busybox-static", "grub-efi-amd64-bin", "grub-pc-bin"),
    "arm64": ("busybox-static", "grub-efi-arm64-bin"),
}
# What no cell needs: papers, other languages, what only installs packages, the installer's first stage.
NOT_UNPACKED = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/bash-completion/*",
    "/usr/share/zsh/*",
)
# The kernel's package has one made by initramfs-tools, which takes half a minute and is thrown away.
NO_FIRST_STAGE = (
    'chroot "$1" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs'
    ' && ln -s ../bin/true "$1/usr/sbin/update-initramfs"'
)
# Packages that are only unpacked leave no records of dpkg's: what it would say of them, and the hash of the list of
# their files' hashes, in a file of our own.
RECORDS = "var/lib/dpkg/unpacked"
RECORD = (
    'for deb in "$1"/var/cache/apt/archives/*.deb; do'
    " dpkg-deb -W --showformat='${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t' \"$deb\";"
    ' dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./md5sums 2>/dev/null | sha256sum | cut -c1-64;'
    f' done >"$1/{RECORDS}"'
)
REMOVED = (
    "boot",
    "etc/apt",
    "etc/init.d",  # units do what they did
    "etc/initramfs-tools",
    "etc/kernel",
    *(f"etc/rc{level}.d" for level in "0123456S"),
    "initrd.img",
    "initrd.img.old",
    "vmlinuz",
    "vmlinuz.old",
    "usr/share/initramfs-tools",
    "usr/lib/initramfs-tools",
    "usr/sbin/update-initramfs",
    "usr/sbin/update-initramfs.distrib",
    "usr/lib/python3/dist-packages",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/udev/hwdb.d",
    "usr/share/perl5",
    "usr/share/keyrings",
    "var/backups",
    "var/cache",
    "var/lib/apt",
    "var/lib/initramfs-tools",
    "var/lib/dpkg",
    "var/log",
    "etc/machine-id",
    "etc/hostname",
    "etc/resolv.conf",
)
# The first stage finds the disk: EC2's NVMe and Xen, virtio of QEMU. The rest is loaded by udev from /usr.
MODULES = (
    "nvme",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "xen-blkfront",
    "ext4",
    "erofs",
    "crc32c_generic",
)


class ImageFile(msgspec.Struct, frozen=True):
    """A file of ours in the image: where, what, and its mode."""

    path: str
    text: str
    mode: int = 0o644


# No login, no bus, no timer, nothing that is made anew at each first boot although /usr never changes. Each of them is
# time before a pod runs, and memory that is paid for.
MASKED = (
    "console-getty.service",
    "dbus.service",
    "dbus.socket",
    "getty.target",
    "getty@tty1.service",
    "ldconfig.service",
    "remote-fs.target",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-hostnamed.socket",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-networkd-persistent-storage.service",
    "systemd-pstore.service",
    "systemd-sysext.socket",
    "systemd-update-done.service",
    "systemd-user-sessions.service",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "nftables.service",
)
ENABLED = ("systemd-networkd.service", "acpid.service", "cellagent.service", "resolv.path")

_AGENT = """\
[Unit]
Description=Chinampa cell agent
# Beside the network, not after it: it asks for its user-data until it is told, sooner than any target is reached.
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service systemd-journald.socket
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/cellagent run --power-off
Restart=always
RestartSec=1
# Containers outlive the agent that started them.
KillMode=process
Delegate=yes
OOMScoreAdjust=-900
LimitNOFILE=1048576
TasksMax=infinity
# The console is what the cloud shows of an instance that cannot be reached.
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=sysinit.target
"""
# What networkd was told of name servers, as pods and programs read it; a resolver of its own would be one more daemon.
_RESOLV_PATH = """\
[Unit]
Description=Watch for name servers
DefaultDependencies=no
After=local-fs.target

[Path]
PathChanged=/run/systemd/netif/state

[Install]
WantedBy=sysinit.target
"""
_RESOLV = """\
[Unit]
Description=Write down the name servers
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=/usr/lib/chinampa/resolv
"""
_RESOLV_SCRIPT = """\
#!/bin/sh
set -e
while IFS='=' read -r name value; do
    case $name in
        DNS) for server in $value; do echo "nameserver $server"; done ;;
        DOMAINS) [ -z "$value" ] || echo "search $value" ;;
    esac
done </run/systemd/netif/state >/run/resolv.conf.new
mv /run/resolv.conf.new /run/resolv.conf
"""
_NETWORK = """\
# The instance's own interfaces, by their drivers: a pod's cable is none of networkd's business.
[Match]
Driver=ena ixgbevf virtio_net vif

[Network]
DHCP=ipv4
IPv6AcceptRA=yes
LinkLocalAddressing=ipv6

[DHCPv4]
UseHostname=yes
UseMTU=yes
ClientIdentifier=mac
"""
# A restart or a change of a link would otherwise take away the pod's route and the rule that leads to it.
_NETWORKD = """\
[Network]
ManageForeignRoutingPolicyRules=no
ManageForeignRoutes=no
ManageForeignNextHops=no
"""
_JOURNAL = """\
[Journal]
Storage=volatile
RuntimeMaxUse=16M
"""
_REPART_USR = """\
[Partition]
Type=usr
"""
_REPART_ROOT = """\
[Partition]
Type=root
Weight=1000
"""
_POWER = """\
event=button/power
action=/usr/bin/systemctl poweroff
"""
_SYSCTL = """\
net.ipv4.ip_forward = 1
kernel.panic = 5
kernel.panic_on_oops = 1
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 1048576
"""
_FSTAB = """\
PARTLABEL=cell-root / ext4 rw,relatime,x-systemd.growfs 0 0
PARTLABEL=cell-usr /usr erofs ro 0 0
"""
_LAUNCHER = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/chinampa")
from cellagent.__main__ import main

sys.exit(main())
"""
FILES = (
    ImageFile("etc/systemd/system/cellagent.service", _AGENT),
    ImageFile("etc/systemd/system/resolv.path", _RESOLV_PATH),
    ImageFile("etc/systemd/system/resolv.service", _RESOLV),
    ImageFile("usr/lib/chinampa/resolv", _RESOLV_SCRIPT, 0o755),
    ImageFile("etc/systemd/network/10-instance.network", _NETWORK),
    ImageFile("etc/systemd/networkd.conf.d/foreign.conf", _NETWORKD),
    ImageFile("etc/systemd/journald.conf.d/cell.conf", _JOURNAL),
    ImageFile("etc/systemd/timesyncd.conf.d/cell.conf", "[Time]\nNTP=169.254.169.123\n"),
    ImageFile("etc/repart.d/10-usr.conf", _REPART_USR),
    ImageFile("etc/repart.d/20-root.conf", _REPART_ROOT),
    ImageFile("etc/acpi/events/power", _POWER),
    ImageFile("etc/sysctl.d/cell.conf", _SYSCTL),
    ImageFile("etc/fstab", _FSTAB),
    ImageFile("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ImageFile("etc/machine-id", ""),
    ImageFile("usr/bin/cellagent", _LAUNCHER, 0o755),
)
LINKS = {
    "etc/resolv.conf": "../run/resolv.conf",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
}
# No check of the timer: where a software emulator gets too little of its machine, the kernel takes it for broken. On
# hypervisors it checks nothing by itself.
KERNEL_LINE = (
    "root=PARTLABEL=cell-root rw console=tty0 console=ttyS0,115200n8 net.ifnames=0 "
    "no_timer_check nvme_core.io_timeout=4294967295 quiet loglevel=4 panic=5 "
    "systemd.show_status=false systemd.gpt_auto=no systemd.getty_auto=no"
)
