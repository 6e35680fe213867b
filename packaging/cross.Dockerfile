# What the tool `cross` builds in (Cross.toml). Its own images are older than the systemd crate's
# libsystemd and than the C library that a device has: this one is Debian 12, as the devices are.
FROM debian:bookworm-slim

# Given by cross: Debian's name of the target's architecture.
ARG CROSS_DEB_ARCH

RUN dpkg --add-architecture "$CROSS_DEB_ARCH" \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates gcc libc6-dev pkg-config "crossbuild-essential-$CROSS_DEB_ARCH" \
        "libsystemd-dev:$CROSS_DEB_ARCH" \
    && rm -rf /var/lib/apt/lists/*

ENV PKG_CONFIG_ALLOW_CROSS=1 \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=/usr/lib/aarch64-linux-gnu/pkgconfig \
    CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc \
    PKG_CONFIG_LIBDIR_armv7_unknown_linux_gnueabihf=/usr/lib/arm-linux-gnueabihf/pkgconfig
