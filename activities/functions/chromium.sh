#!/bin/sh
# Starts Chromium as a user without any rights where its caller is root: as root its own sandbox would be off.
# $BROWSER is the program, $BROWSER_UID whose user it becomes (empty: nobody else's).
set -eu
if [ -n "$BROWSER_UID" ]; then
    for word in "$@"; do
        case $word in
            --user-data-dir=*) chown "$BROWSER_UID:$BROWSER_UID" "${word#*=}" ;;
        esac
    done
    exec setpriv --reuid="$BROWSER_UID" --regid="$BROWSER_UID" --clear-groups \
        --bounding-set=-all --inh-caps=-all --no-new-privs -- "$BROWSER" "$@"
fi
exec setpriv --no-new-privs -- "$BROWSER" "$@"
