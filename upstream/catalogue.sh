#!/usr/bin/env bash
# Writes crates/model/catalogue/: what the built-in Kubernetes API is, for every supported minor
# version. Needs Go, the network (Go's module proxy), `cargo xtask upstream` done before, and
# about half an hour the first time. See README.md.
set -euo pipefail
cd "$(dirname "$0")"
out=$(realpath ../crates/model/catalogue)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/freehold
bin=$cache/upstream/v1.36.3
types=$cache/catalogue
work=$(mktemp -d)
pids=()
finish() {
    # Nothing of theirs is kept, and kube-apiserver would wait for a store that is gone.
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$work"
}
trap finish EXIT

for program in etcd kube-apiserver; do
    [ -x "$bin/$program" ] || { echo "no $bin/$program: run \`cargo xtask upstream\`" >&2; exit 1; }
done
CGO_ENABLED=0 go build -o "$work/catalogue" ./cmd/catalogue

# Types: once per minor version; files that are there are kept (delete them to read again).
mkdir -p "$types"
merged=()
for minor in 28 29 30 31 32 33 34 35 36 37; do
    [ -s "$types/types-$minor.txt" ] || "$work/catalogue" versions "$types" "$minor"
    merged+=("$minor=$types/types-$minor.txt")
done
"$work/catalogue" merge "${merged[@]}" > "$work/types.txt"

# Resources and columns: from a running server.
port() { echo $((20000 + RANDOM % 10000)); }
etcd=$(port) peer=$(port) api=$(port)
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/crt.pem" -days 2 \
    -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null
token=$(openssl rand -hex 16)
(umask 077; echo "$token,catalogue,1,system:masters" > "$work/tokens.csv")
"$bin/etcd" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer" > "$work/etcd.log" 2>&1 &
pids+=($!)
"$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 \
    --secure-port "$api" --advertise-address 127.0.0.1 --tls-cert-file "$work/crt.pem" \
    --tls-private-key-file "$work/key.pem" --token-auth-file "$work/tokens.csv" \
    --authorization-mode RBAC --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$work/key.pem" --service-account-signing-key-file "$work/key.pem" \
    --service-cluster-ip-range 10.0.0.0/24 --endpoint-reconciler-type none \
    --cert-dir "$work/certs" > "$work/api.log" 2>&1 &
pids+=($!)
for _ in $(seq 120); do
    curl -sfk -H "Authorization: Bearer $token" "https://127.0.0.1:$api/readyz" > /dev/null && ready=1 && break
    sleep 0.5
done
[ "${ready:-}" ] || { tail -5 "$work/api.log" >&2; exit 1; }
"$work/catalogue" resources "https://127.0.0.1:$api" "$token" > "$work/resources.txt"

mkdir -p "$out"
cp "$work/types.txt" "$work/resources.txt" "$out/"
# `cargo xtask check` compares these: neither the generator nor what it wrote may change alone.
cd ..
sha256sum upstream/cmd/catalogue/*.go crates/model/catalogue/{types,resources}.txt > "$work/inputs"
cp "$work/inputs" "$out/inputs.sha256"
