#!/bin/sh
# Stands before TGI's router on PATH: the launcher gives it the key as an argument, which every user of the host can read.
# The real key is in the environment; the launcher only knows another one.
key=${MODELYARD_ENGINE_SECRET:?"the router's real place on PATH isn't found"}
unset MODELYARD_ENGINE_SECRET
own=${0%/*}
PATH=":$PATH:"
PATH="${PATH%%":$own:"*}:${PATH#*":$own:"}"
API_KEY=$key
export API_KEY PATH
skip=
for word do
    shift
    case "$skip$word" in
        skip*) skip= ;;
        --api-key) skip=skip ;;
        --api-key=*) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec text-generation-router "$@"
