# The program alone, for any processor of the kind that the image is built for.
#
#     docker build -t lora-slim .
#     docker run --rm -v "$PWD:/work" lora-slim slim my-adapter --base my-base --samples val.jsonl -o my-adapter-slim
#
# It runs as a user without rights. Where `/work` belongs to another one, add `--user "$(id -u):$(id -g)"`. Names on the hub are fetched
# into `/cache`: mount a folder there to keep them. There is no shell in the image, so `--by` with a program of yours needs another one.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin lora-slim && strip target/release/lora-slim
# The program with the shared libraries that it names (glibc, libgcc), and empty folders for its user.
RUN mkdir -p /image/usr/local/bin /image/etc /empty/work /empty/cache /empty/tmp \
    && chmod 1777 /empty/cache /empty/tmp \
    && cp target/release/lora-slim /image/usr/local/bin/ \
    && echo 'nonroot:x:65532:65532::/work:/sbin/nologin' > /image/etc/passwd \
    && for word in $(ldd target/release/lora-slim); do \
        case $word in /lib*) mkdir -p "/image${word%/*}" && cp -L "$word" "/image$word" || exit 1 ;; esac; \
    done

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /empty/ /
USER 65532:65532
ENV HF_HOME=/cache
WORKDIR /work
ENTRYPOINT ["lora-slim"]
