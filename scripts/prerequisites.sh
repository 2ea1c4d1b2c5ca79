#!/usr/bin/env bash
# Prerequisites of every build. Missing Debian packages are named and installed; Rust and Go must be there.
set -euo pipefail
cd "$(dirname "$0")/.."

# By program, where a package of another name may provide it: Docker's containerd.io has the first three, and installing
# Debian's packages would remove Docker.
programs=(containerd:containerd ctr:containerd runc:runc etcd:etcd-server protoc:protobuf-compiler pkg-config:pkg-config
  gcc:gcc make:make nft:nftables ip:iproute2 iptables:iptables sysctl:procps qemu-system-x86_64:qemu-system-x86 git:git xz:xz-utils python3:python3
  curl:curl openssl:openssl node:nodejs dnsmasq:dnsmasq-base nghttpd:nghttp2-server h2load:nghttp2-client
  mariadbd:mariadb-server-core mariadb:mariadb-client-core)
packages=(libelf-dev zlib1g-dev libzstd-dev libc6-dev libprotobuf-dev containernetworking-plugins busybox-static ca-certificates
  python3-pymysql libdbd-mariadb-perl)

[ "$(uname -m)" = x86_64 ] || { echo "this builds and runs on x86_64 (this machine: $(uname -m))" >&2; exit 1; }

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

# The versions that node-runtime-ebpf/build.rs accepts, by the name with the version in it. bindgen loads libclang at build
# time, from the folder that LIBCLANG_PATH names or from those where Debian installs it.
compilers=({16..24})
has_libclang() {
  local version
  [ -z "${LIBCLANG_PATH:-}" ] || return 0
  for version in "${compilers[@]}"; do
    ! compgen -G "/usr/lib/*/libclang-$version.so*" >/dev/null || return 0
    ! compgen -G "/usr/lib/llvm-$version/lib/libclang-$version.so*" >/dev/null || return 0
  done
  return 1
}
has_compiler() { # Chosen by name, or one of each: they need not be of one version.
  local version clang=${BPF_CLANG:-} strip=${BPF_STRIP:-}
  for version in "${compilers[@]}"; do
    clang=${clang:-$(command -v "clang-$version" || true)} strip=${strip:-$(command -v "llvm-strip-$version" || true)}
  done
  [ -n "$clang" ] && [ -n "$strip" ] && has_libclang
}

missing=()
for one in "${programs[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${one%%:*}" >/dev/null || missing+=("${one#*:}")
done
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
compiler=; has_compiler || compiler=wanted
[ ${#missing[@]} -gt 0 ] || [ -n "$compiler" ] || exit 0

command -v apt-get >/dev/null || { echo "install these, by the names they have here: ${missing[*]} ${compiler:+clang, llvm and libclang, 16 or newer}" >&2; exit 1; }
sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get -qq update
if [ -n "$compiler" ]; then
  for version in "${compilers[@]}"; do # the oldest that this Debian has
    [ -n "$(apt-cache madison "clang-$version" 2>/dev/null)" ] && missing+=("clang-$version" "llvm-$version" "libclang1-$version") && break
  done
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | awk '!seen[$0]++')
printf 'Installing Debian packages: %s\n' "${missing[*]}"
# No service of a package may start, now or at the next boot: the tests start their own etcd and containerd. Debian's way to
# say so is a policy; an existing policy of this machine is left as it is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$sudo rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 755 "$policy"
fi
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends --no-remove "${missing[@]}" >/dev/null ||
  { echo "apt-get did not install them; nothing of this machine is removed to make room (see above)" >&2; exit 1; }
for service in containerd:containerd etcd-server:etcd; do
  case " ${missing[*]} " in *" ${service%%:*} "*)
    ! command -v systemctl >/dev/null || $sudo systemctl disable --quiet "${service#*:}.service" || true ;;
  esac
done
