#!/bin/sh
# Makes an environment from a lock, with the pinned uv: sh environment.sh FOLDER LOCK [option of uv pip install …].
# Below /build lie tools.lock and what is made on the way. The certificates of a private registry are the build
# secret `ca`; without it the system's own do.
set -eu
folder=$1
lock=$2
shift 2
if [ -s /run/ca.crt ]; then
    export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt
fi
if [ ! -x /build/tools/bin/uv ]; then
    python3 -m venv /build/tools
    /build/tools/bin/pip install --quiet --no-deps --require-hashes -r /build/tools.lock
fi
if [ ! -x "$folder/bin/python" ]; then
    /build/tools/bin/uv venv --quiet --python /usr/bin/python3 "$folder"
fi
exec /build/tools/bin/uv pip install --quiet --link-mode copy --require-hashes "$@" --python "$folder/bin/python" -r "$lock"
