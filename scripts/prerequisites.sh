#!/usr/bin/env bash
# What must be here before anything is built. Debian packages are installed, after they are named; Rust and Go are asked for.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(clang-16 llvm-16 libelf-dev zlib1g-dev libzstd-dev pkg-config gcc libc6-dev make protobuf-compiler libprotobuf-dev
  etcd-server etcd-client containerd runc containernetworking-plugins nftables iproute2 iptables procps
  busybox-static qemu-system-x86 curl jq)

at_least() { # NAME FOUND WANTED HINT
  if [ "$(printf '%s\n%s\n' "$3" "$2" | sort -V | head -1)" != "$3" ]; then
    printf '%s %s or newer is needed (found: %s). %s\n' "$1" "$3" "${2:-none}" "$4" >&2
    exit 1
  fi
}
at_least Rust "$(rustc --version 2>/dev/null | awk '{print $2}')" "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" "See https://rustup.rs."
at_least Go "$(go version 2>/dev/null | grep -oP 'go\K[0-9.]+' | head -1)" 1.26 "See https://go.dev/dl."

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
printf 'Installing Debian packages: %s\n' "${missing[*]}"
sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
# Nothing that a package brings may start here: the tests start their own etcd and containerd.
$sudo apt-get -qq update
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
