# Sourced by scripts of which one at a time may work on a tree, bash or plain sh: two first `make` calls at once would
# else build the same folder twice.
#
#   lock NAME WHAT      returns once this process alone holds NAME, and says whom it waits for while it does not
#   unlock              in an EXIT trap; where there is flock, the kernel does it too, however the holder ended
#
# What was to be done may have been done meanwhile: look after `lock`, not before.

lock_held=

lock() {
    lock_file=.shoal/locks/$1
    mkdir -p .shoal/locks || exit 1
    if command -v flock >/dev/null 2>&1; then
        exec 9>>"$lock_file"
        flock -n 9 || {
            lock_holder=$(cat "$lock_file")
            printf '%s\n' "$1: another run is at work on $2${lock_holder:+ (process $lock_holder)}: waiting for it"
            flock 9
        }
        printf '%s' $$ >"$lock_file"
        return
    fi
    # A symbolic link is made or it is there already, and it names its holder from its first moment on.
    lock_told=
    until ln -s $$ "$lock_file.holder" 2>/dev/null; do
        [ -w .shoal/locks ] || exit 1
        lock_holder=$(readlink "$lock_file.holder") || continue
        if ! kill -0 "$lock_holder" 2>/dev/null; then # it was killed; whoever can move its link away removes it
            mv "$lock_file.holder" "$lock_file.$$" 2>/dev/null && rm -f "$lock_file.$$"
            continue
        fi
        [ -n "$lock_told" ] || printf '%s\n' "$1: another run is at work on $2 (process $lock_holder): waiting for it"
        lock_told=yes
        sleep 0.5
    done
    lock_held=$lock_file.holder
}

unlock() {
    [ -z "$lock_held" ] || rm -f "$lock_held"
}
