#!/bin/sh
# Put the official Socket.IO browser client where Shoal serves it from.
#
# Installs what package-lock.json names into node_modules/ and copies the client's files, and the licences of what is in
# them, to src/shoal/http/client/, which git ignores. Nothing is done when both are already what the lock file says.
# Without npm, or without a network, it says so in one line and ends with 0: Shoal then sends browsers to the public copy.
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$root" || exit 1

from=node_modules/socket.io-client/dist
to=src/shoal/http/client
stamp=node_modules/.shoal-lock # the lock file that node_modules was installed from
. scripts/lock.sh
log=$(mktemp) || exit 1
trap 'rm -f "$log"; unlock' EXIT
lock fetch-client "the browser client"

without() {
    if [ -f "$to/socket.io.js" ]; then
        echo "browser client: $1; keeping the copy from an earlier run"
    else
        echo "browser client: $1; the page will use the public CDN copy"
    fi
    exit 0
}

if ! cmp -s package-lock.json "$stamp" || [ ! -f "$from/socket.io.js" ]; then
    command -v npm >/dev/null 2>&1 || without "npm is not installed"
    # npm's own patience with a dead network is minutes; a demo cannot wait that long.
    npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error \
        --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=20000 >"$log" 2>&1 ||
        without "npm could not install it ($(grep -m 1 -E 'npm (error|ERR!) code' "$log" || echo 'no reason given'))"
    cp package-lock.json "$stamp"
fi

mkdir -p "$to" || exit 1
copied=0
for name in socket.io.js socket.io.min.js socket.io.esm.min.js socket.io.msgpack.min.js; do
    for file in "$name" "$name.map"; do
        cmp -s "$from/$file" "$to/$file" && continue
        # Copied beside and renamed: a server that starts meanwhile never reads half a file.
        cp "$from/$file" "$to/.$file.$$" && mv -f "$to/.$file.$$" "$to/$file" || exit 1
        copied=$((copied + 1))
    done
done

licences() {
    echo "The files beside this one are the official browser client of Socket.IO. These packages are in them."
    for package in socket.io-client socket.io-parser engine.io-client engine.io-parser @socket.io/component-emitter debug ms \
        socket.io-msgpack-parser component-emitter notepack.io; do
        folder=node_modules/$package
        version=$(sed -n 's/^  "version": "\(.*\)".*/\1/p' "$folder/package.json") && [ -n "$version" ] || return 1
        printf '\n---- %s %s ----\n\n' "$package" "$version"
        cat "$folder"/LICENSE* 2>/dev/null || cat "$folder"/license* || return 1
    done
}
licences >"$log" || exit 1
if ! cmp -s "$log" "$to/LICENSE.txt"; then
    cp "$log" "$to/.LICENSE.$$" && mv -f "$to/.LICENSE.$$" "$to/LICENSE.txt" || exit 1
    copied=$((copied + 1))
fi
[ "$copied" -eq 0 ] || echo "browser client: $copied files copied to $to"
