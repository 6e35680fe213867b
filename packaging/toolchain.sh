# A toolchain for another architecture out of Debian's packages, unpacked into one folder: nothing is
# installed, no foreign architecture is added to this system, rustup downloads nothing. To be sourced:
# `cross_toolchain ARCH FOLDER` sets what cargo, the cc crate, pkg-config and qemu-user look for, and arch,
# triple and target (the names that Debian, GNU and Rust have for it), sysroot (the target's libraries), lld
# (the folder of the linker) and build_std (cargo's arguments where it builds the standard library, too).
# Needs apt with Debian's or Ubuntu's sources; 1 GB, rustc in it. Gives 69 where the archive has no such
# toolchain or its lists do not fit together.
# shellcheck shell=bash disable=SC2034  # set for who sources this

# architecture ARCH: sets the names.
architecture() {
  case $1 in
    aarch64 | arm64) arch=arm64 triple=aarch64-linux-gnu target=aarch64-unknown-linux-gnu ;;
    armv7 | armhf) arch=armhf triple=arm-linux-gnueabihf target=armv7-unknown-linux-gnueabihf ;;
    x86_64 | amd64) arch=amd64 triple=x86_64-linux-gnu target=x86_64-unknown-linux-gnu ;;
    riscv64) arch=riscv64 triple=riscv64-linux-gnu target=riscv64gc-unknown-linux-gnu ;;
    *) echo "toolchain: there is no architecture $1, only aarch64, armv7, x86_64, riscv64" >&2; return 64 ;;
  esac
}

# Whether the compiler that is there has a standard library for $target.
rust_has_target() {
  [ -d "$("${RUSTC:-rustc}" --print sysroot 2>/dev/null)/lib/rustlib/$target" ]
}

# depends PACKAGE PATTERN: the dependency of PACKAGE whose name fits.
depends() {
  apt-cache depends "$1" | sed -n "s/^ *Depends: \($2\)\(:.*\)\?$/\1/p" | head -n 1
}

# unpack FOLDER PACKAGE…: fetches packages of the private package state and unpacks them.
unpack() {
  local into=$1 debs
  shift
  debs=$(mktemp -d "$folder/debs.XXXX")
  (cd "$debs" && apt-get -qq download "$@")
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$into"; done
  rm -rf "$debs"
}

# Compiler, linker and C library. GCC's own packages carry its version in their names.
unpack_gcc() {
  local gcc=$1
  unpack "$folder/tools" "$gcc" "cpp-${gcc#gcc-}" "g++-${gcc#gcc-}" "binutils-$triple" \
    "libc6-$arch-cross" "libc6-dev-$arch-cross" "linux-libc-dev-$arch-cross" "libgcc-s1-$arch-cross" \
    "$(depends "$gcc" 'libgcc-[0-9]*-dev-.*-cross')" "libatomic1-$arch-cross" \
    "libstdc++6-$arch-cross" "$(depends "g++-${gcc#gcc-}" 'libstdc++-[0-9]*-dev-.*-cross')"
  # The cross C library's linker scripts name the folder that it would be installed in.
  local script
  for script in libc.so libm.so; do
    script=$folder/tools/usr/$triple/lib/$script
    if grep -qs GROUP "$script"; then sed -i "s#/usr/$triple/lib/##g" "$script"; fi
  done
}

# Debian 12 keeps a current compiler for its browsers, rustc-web, and the linker of the same LLVM. Where it has
# no standard library for $arch, the library's source: cargo builds it.
unpack_rust() {
  local std llvm library=libstd-rust-web-dev:$arch
  [ "$arch" != riscv64 ] || library=rust-web-src
  std=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
  llvm=$(depends "$std" 'libllvm[0-9]*')
  unpack "$folder/tools" rustc-web cargo-web "$std:amd64" libstd-rust-web-dev:amd64 \
    "$library" "$llvm:amd64" "lld-${llvm#libllvm}" \
    libgit2-1.5 libmbedcrypto7 libmbedtls14 libmbedx509-1 libhttp-parser2.9 libssh2-1
}

# What the device's flavour links and what qemu-user loads. Debian 12 has no libraries for riscv64.
unpack_sysroot() {
  [ "$arch" != riscv64 ] || return 0
  local libraries=(libsystemd-dev libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 liblzma5
    libzstd1 libc6 libgcc-s1)
  unpack "$folder/sysroot" "${libraries[@]/%/:$arch}"
}

# The package state that knows $arch as well, beside the system's own.
package_state() {
  mkdir -p "$folder"/apt/{lists/partial,archives/partial} "$folder/tools" "$folder/sysroot"
  cat >"$folder/apt.conf" <<CONF
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt";
APT::Architectures { "amd64"; "$arch"; };
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
CONF
  export APT_CONFIG=$folder/apt.conf
  apt-get -qq update || {
    echo "toolchain: the archive's lists of packages for $arch can't be had now" >&2
    return 69
  }
}

# complete NAME COMMAND…: runs it once for this folder.
complete() {
  local mark=$folder/$1.complete
  shift
  [ -e "$mark" ] || { "$@" && touch "$mark"; }
}

# cross_toolchain ARCH FOLDER
cross_toolchain() {
  architecture "$1"
  local folder=$2/$arch gcc lower
  build_std=()
  [ "$arch" != amd64 ] || return 0
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  if [ ! -e "$folder/sysroot.complete" ] || { ! rust_has_target && [ ! -e "$folder/rust.complete" ]; }; then
    echo "==> unpacking a toolchain for $arch into $folder" >&2
    package_state || return
    gcc=$(depends "gcc-$triple" "gcc-[0-9]*-$triple")
    [ -n "$gcc" ] || { echo "toolchain: this system has no cross compiler for $triple" >&2; return 69; }
    complete gcc unpack_gcc "$gcc"
    complete sysroot unpack_sysroot
    if ! rust_has_target; then
      if [ -z "$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')" ]; then
        echo "toolchain: neither rustc nor this system's packages have $target" >&2
        return 69
      fi
      complete rust unpack_rust
    fi
    rm -rf "$folder/apt"
    unset APT_CONFIG
  fi

  export PATH=$folder/tools/usr/bin:$PATH
  export LD_LIBRARY_PATH=$folder/tools/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  sysroot=$folder/sysroot
  if [ -e "$folder/rust.complete" ]; then
    if ! [ -d "$folder/tools/usr/lib/rustlib/$target" ]; then
      build_std=(-Z "build-std=std,panic_unwind")
      # The compiler's own sources may use what is not stable, in a release of it as in a nightly.
      export RUSTC_BOOTSTRAP=1
    fi
    # By path: the names on PATH may be rustup's.
    export RUSTC=$folder/tools/usr/bin/rustc CARGO=$folder/tools/usr/bin/cargo
    # The newest: a fetch that broke off may have left another's.
    lld=$(compgen -G "$folder/tools/usr/lib/llvm-*/bin" | sort -V | tail -n 1)
  else
    lld=$(compgen -G "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/*/bin/gcc-ld")
  fi
  gcc=$(basename "$(compgen -G "$folder/tools/usr/bin/$triple-gcc-[0-9]*")")
  lower=${target//-/_}
  export "CC_$lower=$gcc" "CXX_$lower=${gcc/-gcc-/-g++-}" "AR_$lower=$triple-ar"
  export "CARGO_TARGET_${lower^^}_LINKER=$gcc"
  # Where libsystemd's own libraries are: build scripts link against it, too.
  export "CARGO_TARGET_${lower^^}_RUSTFLAGS=-Clink-arg=-Wl,-rpath-link,$sysroot/usr/lib/$triple -Clink-arg=-Wl,-rpath-link,$sysroot/lib/$triple"
  export PKG_CONFIG_ALLOW_CROSS=1
  export "PKG_CONFIG_SYSROOT_DIR_$lower=$sysroot"
  export "PKG_CONFIG_LIBDIR_$lower=$sysroot/usr/lib/$triple/pkgconfig"
  export QEMU_LD_PREFIX=$sysroot
}
