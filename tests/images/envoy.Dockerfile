# Envoy for a cluster without a network, at the path where the official image has it.
ARG BASE
FROM ${BASE}
COPY envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
