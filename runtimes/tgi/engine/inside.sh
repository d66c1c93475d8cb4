# The first process of TGI's container: `bash -c inside.sh NAME PATIENCE SILENCE ROUTER ARGUMENT …`.
# Ends the launcher when its input ends or says nothing for SILENCE seconds, and kills it after PATIENCE more.
patience=$1 silence=$2
place=$(mktemp -d)
printf '%s' "$3" >"$place/text-generation-router"
chmod 700 "$place/text-generation-router"
export PATH="$place:$PATH"
shift 3
start=/tgi-entrypoint.sh
[ -x "$start" ] || start=text-generation-launcher
asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
exec 3<&0
"$start" "$@" </dev/null 3<&- &
child=$!
[ -z "$asked" ] || kill -TERM "$child"
{
    trap - TERM INT
    while read -r -t "$silence" _ <&3; do :; done
    kill -TERM "$child" 2>/dev/null
    sleep "$patience"
    kill -KILL "$child" 2>/dev/null
} &
exec 3<&-
while :; do
    wait "$child"
    code=$?
    kill -0 "$child" 2>/dev/null || exit "$code"
done
