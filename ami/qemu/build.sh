#!/bin/bash
# Makes a worker's disk for qemu: Debian 12 by mmdebstrap, then install.sh in it, as on a machine. Run as root.
#   build.sh WORK PACKAGE WHEELS WEIGHTS ENGINES [--lean]
# WORK gets base.tar (kept for the next time), disk.ext4, kernel and initrd. PACKAGE is a wheel, WHEELS a folder with those
# that it needs, WEIGHTS a file, ENGINES the folder of converted engines. --lean does what makes a boot shorter: an initrd
# with this machine's drivers alone, and no services that a worker has no use for.
set -euo pipefail

readonly WORK=$1 PACKAGE=$2 WHEELS=$3 WEIGHTS=$4 ENGINES=$5 LEAN=${6-}
readonly TREE=$WORK/tree
readonly SYSTEM=systemd,systemd-sysv,udev,kmod,zstd,ca-certificates,python3,python3-venv,linux-image-cloud-amd64

base() {
  [[ -s $WORK/base.tar ]] && return
  mmdebstrap --quiet --variant=minbase --include=$SYSTEM bookworm "$WORK/base.tar.part"
  mv "$WORK/base.tar.part" "$WORK/base.tar"
}

# The mounts are seen by this command alone, and gone with it
# shellcheck disable=SC2016  # the inner shell's own $0 and $@
inside() {
  unshare --mount --propagation private sh -c \
    'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$TREE" "$@"
}

system() {
  rm -rf "$TREE"
  mkdir "$TREE"
  tar -xf "$WORK/base.tar" -C "$TREE"
  echo worker >"$TREE/etc/hostname"
  echo '/dev/vda / ext4 rw,noatime 0 1' >"$TREE/etc/fstab"
  printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' >"$TREE/etc/systemd/network/ethernet.network"
  cp "$(dirname "$0")/asked.service" "$TREE/etc/systemd/system/"
  inside systemctl --quiet enable systemd-networkd.service asked.service
  if [[ $LEAN == --lean ]]; then
    inside systemctl --quiet mask systemd-pstore.service systemd-timesyncd.service getty@tty1.service \
      serial-getty@ttyS0.service systemd-update-utmp.service console-getty.service
    printf 'virtio_pci\nvirtio_blk\next4\n' >>"$TREE/etc/initramfs-tools/modules"
    sed -i 's/^MODULES=.*/MODULES=list/; s/^# *COMPRESS=.*\|^COMPRESS=.*/COMPRESS=zstd/' "$TREE/etc/initramfs-tools/initramfs.conf"
    inside update-initramfs -u >/dev/null
  fi
}

worker() {
  mkdir "$TREE/provision"
  cp "$PACKAGE" "$WEIGHTS" "$(dirname "$0")/../install.sh" "$TREE/provision/"
  cp -r "$WHEELS" "$TREE/provision/wheels"
  cp -r "$ENGINES" "$TREE/provision/engines"
  inside bash /provision/install.sh --package "/provision/$(basename "$PACKAGE")" --wheels /provision/wheels \
    --weights "/provision/$(basename "$WEIGHTS")" --engine-cache /provision/engines --cpu --end-machine
  rm -rf "$TREE/provision"
}

disk() {
  cp "$TREE"/boot/vmlinuz-* "$WORK/kernel"
  cp "$TREE"/boot/initrd.img-* "$WORK/initrd"
  rm -f "$WORK/disk.ext4"
  mke2fs -q -t ext4 -L root -d "$TREE" "$WORK/disk.ext4" 4G
  rm -rf "$TREE"
}

base
system
worker
disk
