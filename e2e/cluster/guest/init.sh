#!/bin/busybox sh
# PID 1 in the initramfs of a guest: loads the kernel's modules, mounts the disk and continues with its init.
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
	insmod "$module" || echo "insmod $module failed"
done
mount -t ext4 /dev/vda /disk || exec poweroff -f
mount --move /dev /disk/dev
exec switch_root /disk /sbin/init
