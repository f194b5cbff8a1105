#!/bin/sh
# Buckets, retention, the coarser copy and tokens with the least rights, in InfluxDB 2. Once:
#   docker compose exec influxdb sh /opt/gridwarden/setup.sh
# It can be called again: what is there stays. Tokens are printed once, on standard output: put
# each into its file. Needs the influx command and its configured operator token.
set -eu

org=${GRIDWARDEN_ORG:-gridwarden}
bucket=${GRIDWARDEN_BUCKET:-gridwarden}
keep=${GRIDWARDEN_KEEP:-720h}
coarse=${bucket}_10m
keep_coarse=${GRIDWARDEN_KEEP_COARSE:-17520h}
here=$(dirname "$0")

id_of() { influx bucket list --org "$org" --name "$1" --hide-headers 2>/dev/null | cut -f1; }

[ -n "$(id_of "$bucket")" ] || influx bucket create --org "$org" --name "$bucket" --retention "$keep"
[ -n "$(id_of "$coarse")" ] || influx bucket create --org "$org" --name "$coarse" --retention "$keep_coarse"
raw_id=$(id_of "$bucket")
coarse_id=$(id_of "$coarse")

# InfluxQL asks for a database and a retention policy: gridwarden reads that way, Grafana too. The
# list also has mappings that InfluxDB thinks up by itself ("true" in the sixth column).
for pair in "$bucket $raw_id" "$coarse $coarse_id"; do
    name=${pair% *}
    influx v1 dbrp list --org "$org" --db "$name" --hide-headers 2>/dev/null | cut -f6 | grep -qx false ||
        influx v1 dbrp create --org "$org" --db "$name" --rp autogen --default --bucket-id "${pair#* }"
done

# One value in ten minutes for charts over months: the mean, and the greatest as `reading_max`. The
# task comes from a file: `influx task create` takes "-f -" for a file of that name.
if ! influx task list --org "$org" --hide-headers 2>/dev/null | grep -q gridwarden_10m; then
    flux=$(mktemp)
    trap 'rm -f "$flux"' EXIT
    sed -e "s/BUCKET_COARSE/$coarse/g" -e "s/BUCKET/$bucket/g" "$here/downsample.flux" > "$flux"
    influx task create --org "$org" -f "$flux"
fi

# Workers only write; charts only read. Nobody but the operator makes or drops anything.
has() { influx auth list --org "$org" --hide-headers 2>/dev/null | grep -q "$1"; }
has gridwarden-worker || {
    echo "influx_worker_token:"
    influx auth create --org "$org" --description gridwarden-worker \
        --write-bucket "$raw_id" --hide-headers | cut -f3
}
has gridwarden-charts || {
    echo "influx_charts_token:"
    influx auth create --org "$org" --description gridwarden-charts \
        --read-bucket "$raw_id" --read-bucket "$coarse_id" --hide-headers | cut -f3
}
