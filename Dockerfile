# The agent and the CNI plugins it needs, and nothing else: no shell, no libraries. script/build-image.sh builds the same
# without base images.
ARG RUST=docker.io/library/rust:1.95-bookworm
ARG GO=docker.io/library/golang:1.26-bookworm

FROM ${RUST} AS agent
WORKDIR /src
COPY . .
RUN script/build-static.sh /out

FROM ${GO} AS plugins
COPY script/build-cni-plugins.sh /
RUN /build-cni-plugins.sh /out

FROM scratch
COPY --from=agent /out/dunlin /usr/local/bin/dunlin
COPY --from=plugins /out /usr/local/lib/dunlin/cni
ENV PATH=/usr/local/bin
LABEL org.opencontainers.image.title=dunlin \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
ENTRYPOINT ["/usr/local/bin/dunlin"]
CMD ["agent"]
