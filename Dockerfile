# syntax=docker/dockerfile:1
# bedgate in a small image: one binary on distroless (glibc, CA certificates, no shell), as a user without rights.

FROM rust:1.95-slim-bookworm AS build
# The allocator and SQLite are built from C; the image has a compiler, and no make.
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked \
    && install -D -m 0755 target/release/bedgate /image/usr/local/bin/bedgate \
    && install -d -m 0700 /image/data \
    && cp -r config /image/etc-bedgate

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr/local/bin/bedgate /usr/local/bin/bedgate
COPY --from=build /image/etc-bedgate /etc/bedgate
# The journal, the lock and SQLite. It must outlive the container: what is not yet in the database is here alone.
COPY --from=build --chown=65532:65532 /image/data /data
# Read by every command: the health check must know where `serve` listens, the others which database it uses.
ENV BEDGATE_CONFIG=/etc/bedgate BEDGATE_DATA_DIR=/data
USER 65532:65532
VOLUME /data
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/bedgate", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bedgate"]
# No --host: without a master key bedgate listens on loopback only, and so is not open to the network by mistake.
CMD ["serve"]
