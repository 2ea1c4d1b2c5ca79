#!/usr/bin/env bash
# What must be here before anything is built. Debian packages are installed, after they are named; Rust and Go are asked for.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(clang-16 llvm-16 libelf-dev zlib1g-dev libzstd-dev pkg-config gcc libc6-dev make protobuf-compiler libprotobuf-dev
  etcd-server etcd-client containerd runc containernetworking-plugins nftables iproute2 iptables procps
  busybox-static qemu-system-x86 git xz-utils ca-certificates)

at_least() { # NAME FOUND WANTED HINT
  if [ "$(printf '%s\n%s\n' "$3" "$2" | sort -V | head -1)" != "$3" ]; then
    printf '%s %s or newer is needed (found: %s). %s\n' "$1" "$3" "${2:-none}" "$4" >&2
    exit 1
  fi
}
rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
at_least Rust "$(rustc --version 2>/dev/null | awk '{print $2}')" "$rust" "See https://rustup.rs."
at_least Go "$(go version 2>/dev/null | grep -oP 'go\K[0-9.]+' | head -1)" 1.26 "See https://go.dev/dl."
for component in rustfmt clippy; do
  "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 ||
    { echo "Rust's $component is missing: \`rustup component add $component\`, or your distribution's package" >&2; exit 1; }
done

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
printf 'Installing Debian packages: %s\n' "${missing[*]}"
sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
# Nothing that a package brings may start here: the tests start their own etcd and containerd. Debian's way to say so is a
# policy; one that the machine has is not ours to change.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$sudo rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 755 "$policy"
fi
$sudo apt-get -qq update
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
