#!/bin/sh
# Adds the programs that tests use, from Debian, to the appliance's system.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -y -qq docker-cli etcd-client git iproute2 iptables make pgbackrest procps shellcheck >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/*
