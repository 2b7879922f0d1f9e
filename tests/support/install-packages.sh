#!/usr/bin/env bash
# Installs the servers and clients that the tests run against: on Debian, as root. Elsewhere it
# says which of them are missing; their tests are then skipped (and fail under CI=true).
set -euo pipefail

programs=(sipp baresip kamailio nsd chromium chromedriver rabbitmq-server initdb mariadbd kubectl node)
declare -A package=([sipp]=sip-tester [baresip]=baresip-core [kamailio]=kamailio [nsd]=nsd
    [chromium]=chromium [chromedriver]=chromium-driver [rabbitmq-server]=rabbitmq-server
    [initdb]=postgresql [mariadbd]=mariadb-server [kubectl]=kubernetes-client
    [node]=nodejs)
PATH="$PATH:/usr/sbin:/usr/local/sbin"
for folder in /usr/lib/postgresql/*/bin; do
    PATH="$PATH:$folder"
done

missing=()
for program in "${programs[@]}"; do
    command -v "$program" > /dev/null || missing+=("${package[$program]}")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || [ ! -e /etc/debian_version ] || ! command -v apt-get > /dev/null; then
    echo "Tests with these programs will be skipped, as they are not installed: ${missing[*]}"
    echo "On Debian: sudo apt-get install --no-install-recommends ${missing[*]}"
    exit 0
fi
# The services that some of them bring must not start here.
echo "Installing what the tests run against: ${missing[*]}"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null; } ||
    echo "Could not install ${missing[*]}: tests with them will be skipped."
