#!/bin/sh
# Runs a command, and runs it again whenever a signal has killed it, as kill -9 or the kernel short of memory does.
# When it ends by itself, be it with an error, so does this, with its status. To Ctrl-C and SIGTERM the command answers.
stopping=
trap 'stopping=yes' INT TERM
while "$@"; status=$?; [ "$status" -gt 128 ] && [ -z "$stopping" ]; do
    echo "killed by signal $((status - 128)), starting again: $*" >&2
    sleep 1
    [ -z "$stopping" ] || break
done
exit "$status"
