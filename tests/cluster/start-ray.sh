#!/usr/bin/env bash
# A Ray head on this machine that asks for a token: start-ray.sh DIR [PORT]. Ends with lines to `export`.
# `ray stop` would end every Ray of the machine; `kill $(cat DIR/pid)` ends this one.
set -euo pipefail
dir=$(realpath -m "${1:?a folder}")
port=${2:-9379}
if (exec 3<>"/dev/tcp/$(hostname -i | cut -d' ' -f1)/$port") 2>/dev/null; then
    echo "error: port $port is in use: start-ray.sh DIR PORT takes another one (not one of 10002 to 19999)" >&2
    exit 1
fi
mkdir -p "$dir"
(umask 077; python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "$dir/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$dir/token" RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
ray start --head --block --port="$port" --num-cpus=2 --include-dashboard=false --disable-usage-stats \
    --temp-dir="$dir/tmp" > "$dir/log" 2>&1 &
echo $! > "$dir/pid"
until grep -q "Ray runtime started" "$dir/log"; do
    kill -0 "$(cat "$dir/pid")" || { cat "$dir/log" >&2; exit 1; }
    sleep .2
done
echo "export RAY_AUTH_MODE=token"
echo "export RAY_AUTH_TOKEN_PATH=$dir/token"
echo "export RAY_ADDRESS=$(hostname -i | cut -d' ' -f1):$port"
