# The image holds one static binary, the CA roots and the licence; docs/image.md says how to build
# and try it, also without a Docker daemon or a registry.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# A target that is named keeps the flag away from build scripts and procedural macros, which have
# to be linked dynamically. glibc's own resolver works without shared libraries since 2.34.
RUN host="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --bin tallyd --target "$host" \
    && install -D --strip "target/$host/release/tallyd" /out/tallyd

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tallyd" \
      org.opencontainers.image.description="A StatsD and DogStatsD to Prometheus exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tallyd /bin/tallyd
COPY LICENSE /LICENSE
USER 65534:65534
EXPOSE 9102 9125 9125/udp
ENTRYPOINT ["/bin/tallyd"]
