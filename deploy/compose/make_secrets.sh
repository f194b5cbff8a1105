#!/bin/sh
# Random secrets for compose.yml in secrets/, each in its file; those that are there stay.
# Tokens of InfluxDB and the key of dispatch are made by those: see docs/deployment.md.
#   sh deploy/compose/make_secrets.sh [NAME-OR-ADDRESS-BY-WHICH-GATEWAYS-REACH-THIS-MACHINE]
set -eu
cd "$(dirname "$0")/secrets"
umask 077
host=${1:-localhost}

random() { head -c 24 /dev/urandom | base64 | tr -d '=+/\n'; }

for name in mqtt_bridge_password mqtt_alerts_password influx_admin_password influx_admin_token \
    grafana_admin_password; do
    [ -s "$name" ] || random > "$name"
done
for name in influx_worker_token influx_charts_token dispatch_read_key; do
    [ -s "$name" ] || echo "to-be-replaced" > "$name"
done

# A certificate of our own for the broker; with one from your authority, put it here instead.
if [ ! -s broker_key ]; then
    case $host in
        *:*) place=IP:$host ;;
        *[!0-9.]*) place=DNS:$host ;;
        *) place=IP:$host ;;
    esac
    openssl req -x509 -newkey rsa:3072 -nodes -days 825 -subj "/CN=gridwarden-broker" \
        -addext "subjectAltName=DNS:mosquitto,$place,DNS:localhost,IP:127.0.0.1" \
        -keyout broker_key -out broker_cert 2>/dev/null
    cp broker_cert broker_ca
fi

# Names and hashes as mosquitto_passwd writes them: PBKDF2 with SHA-512. Gateways are added with
#   mosquitto_passwd secrets/mosquitto_passwords GATEWAY
if [ ! -s mosquitto_passwords ]; then
    python3 - > mosquitto_passwords <<'PY'
import base64, hashlib, os, pathlib
for user in ("bridge", "alerts"):
    word = pathlib.Path(f"mqtt_{user}_password").read_bytes().strip()
    salt, rounds = os.urandom(12), 101
    code = hashlib.pbkdf2_hmac("sha512", word, salt, rounds)
    b64 = lambda data: base64.b64encode(data).decode()
    print(f"{user}:$7${rounds}${b64(salt)}${b64(code)}")
PY
fi
# Containers read them as users of their own; nobody else gets past the folder.
chmod 0644 ./*
chmod 0700 .
