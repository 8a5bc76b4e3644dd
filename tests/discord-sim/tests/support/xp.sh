#!/bin/sh
# What the chat is told that messages earned: the author had 7, and each message of theirs earns 19,
# or nothing if it says so. The first answer to each question is that it is not known yet.
if [ -z "$SIM_MESSAGE" ]; then
    echo "7 of $SIM_USER"
    exit
fi
if [ ! -e "$XP_DIR/$SIM_MESSAGE" ]; then
    : >"$XP_DIR/$SIM_MESSAGE"
    exit
fi
case $SIM_TEXT in
fail) echo "the database is away" >&2; exit 1 ;;
*) [ "$SIM_BEFORE" != "7 of $SIM_USER" ] || echo "+19 XP for $SIM_NAME" ;;
esac
