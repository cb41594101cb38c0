#!/bin/sh
# Starts the set-up with whatever Python there is: the checkout's own, else the system's.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
cd "$here/../.." || exit 1
for python in .venv/bin/python python3.12 python3.11 python3 /usr/bin/python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        exec "$python" -m operations.setup "$@"
    fi
done
. /etc/os-release 2>/dev/null
case "$VERSION_CODENAME" in
    bookworm | jammy) packages="python3.11-venv libpython3.11" ;;
    noble) packages="python3.12-venv libpython3.12" ;;
    *) packages="python3-venv" ;;
esac
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -z "$SETUP_TRIED" ]; then
    echo "set-up    there is no Python: apt-get install $packages"
    # shellcheck disable=SC2086 # a list of packages
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null &&
        SETUP_TRIED=1 exec sh "$here/run.sh" "$@"
fi
echo "set-up    there is no Python: sudo apt install $packages" >&2
exit 1
