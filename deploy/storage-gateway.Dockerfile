# storage-gateway: one binary and the operator's command line, as an unprivileged user.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY .cargo .cargo
COPY crates crates
COPY e2e e2e
# The cache mounts keep the registry and the target folder between builds of one machine.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package storage-gateway --package storagectl \
    && cp target/release/storage-gateway target/release/storagectl /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin storage \
    && install -d -o storage -g storage /app/data /app/config
COPY --from=build /usr/local/bin/storage-gateway /usr/local/bin/storagectl /usr/local/bin/
COPY LICENSE /usr/share/doc/storage-gateway/LICENSE
USER storage
WORKDIR /app
ENV CONFIG_PATH=/app/config/local_storage.yaml MALLOC_ARENA_MAX=2
EXPOSE 9000
STOPSIGNAL SIGTERM
ENTRYPOINT ["storage-gateway"]
