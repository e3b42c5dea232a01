#!/bin/sh
# A hook of zerottl for anycast: has BIRD withdraw this front's route while the front is cut off from the others of its fleet, or while
# none of its Sites is up, and announce it again afterwards. By which of the two it goes is said by the hook's events:
#
#   [hook.route]
#   command = ["/etc/zerottl/hooks/bird-route.sh"]
#   events = ["cut-off", "rejoined", "site-down", "site-up"]
#
# Arguments, all of which may be left out: BIRD's static protocols, as a pattern; its control socket; and a directory for marks, one for each reason to be
# withdrawn, so that the end of one reason is not the end of the other.
set -eu
protocols=${1:-anycast*}
control=${2:-/run/bird/bird.ctl}
marks=${3:-/run/zerottl/withdrawn}
PATH=$PATH:/usr/sbin:/sbin

mkdir -p "$marks"
case $ZEROTTL_EVENT in
    cut-off) : >"$marks/cut-off" ;;
    rejoined) rm -f "$marks/cut-off" ;;
    # As many as are up after all that has changed at the same time.
    site-down) [ "$ZEROTTL_SITES_UP" -ne 0 ] || : >"$marks/no-site" ;;
    site-up) rm -f "$marks/no-site" ;;
    *) exit 0 ;;
esac

verb=enable
for mark in "$marks"/*; do
    [ ! -e "$mark" ] || verb=disable
done
# That the protocols are so already is no error. What is one goes into zerottl's log, and the event comes again.
said=$(birdc -s "$control" "$verb \"$protocols\"" 2>&1) || { echo "$said" >&2; exit 1; }
