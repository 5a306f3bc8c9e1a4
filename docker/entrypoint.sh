#!/bin/bash
# Prints what decides whether py-spy may trace and how much memory may be locked (libtpu pins host memory), then
# becomes the runner, so that the runner gets signals.
set -eu
scope=absent
[ -e /proc/sys/kernel/yama/ptrace_scope ] && scope=$(cat /proc/sys/kernel/yama/ptrace_scope)
ulimit -l "$(ulimit -H -l)" 2> /dev/null || true # as far as the runtime allows
echo "ptrace_scope $scope, CapEff $(awk '/CapEff/ {print $2}' /proc/self/status), uid $(id -u), ulimit -l $(ulimit -l)"
exec python -m scoreprof_nb "$@"
