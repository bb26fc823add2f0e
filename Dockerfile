# The program alone, for any processor of the kind that the image is built for.
#
#     docker build -t lora-slim .
#     docker run --rm -v "$PWD:/work" lora-slim slim my-adapter --base my-base --samples val.jsonl -o my-adapter-slim
#
# It runs as a user without rights. Where `/work` belongs to another one, add `--user "$(id -u):$(id -g)"`. Names on the hub are fetched
# into `/cache`: mount a folder there to keep them.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin lora-slim && strip target/release/lora-slim && mkdir -p /empty/work /empty/cache

# glibc, libgcc and certificates, and nothing else: no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /source/target/release/lora-slim /usr/local/bin/lora-slim
COPY --from=build --chown=nonroot:nonroot /empty/ /
ENV HF_HOME=/cache
WORKDIR /work
ENTRYPOINT ["lora-slim"]
