# storage-service: one binary and the operator's command line, as an unprivileged user.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY .cargo .cargo
COPY crates crates
COPY e2e e2e
# The codec is a quarter faster with AVX2 and BMI2 (docs/adr/0008-batch-codec.md), which clouds' x86 machines have; on an
# older one the service ends by SIGILL: build with `--build-arg CPU=x86-64` there.
ARG TARGETARCH=amd64
ARG CPU=x86-64-v3
# The cache mounts keep the registry and the target folder between builds of one machine.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    if [ "$TARGETARCH" = amd64 ]; then export RUSTFLAGS="-C target-cpu=$CPU"; fi; \
    cargo build --release --locked --package storage-service --package storagectl \
    && cp target/release/storage-service target/release/storagectl /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin storage \
    && install -d -o storage -g storage /app/data /app/config
COPY --from=build /usr/local/bin/storage-service /usr/local/bin/storagectl /usr/local/bin/
COPY LICENSE /usr/share/doc/storage-service/LICENSE
USER storage
WORKDIR /app
ENV CONFIG_PATH=/app/config/cloud_storage.yaml MALLOC_ARENA_MAX=2
EXPOSE 8002
STOPSIGNAL SIGTERM
ENTRYPOINT ["storage-service"]
