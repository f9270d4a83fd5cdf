#!/bin/bash
# Runs what the host asks for over the second serial line: `NUMBER SCRIPT` in, `NUMBER EXIT OUTPUT` out, in base64.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo "ready $(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r number script <&3; do
    output=$(timeout 150 bash -c "$(base64 --decode <<<"$script")" </dev/null 2>&1)
    echo "$number $? $(base64 --wrap=0 <<<"$output")" >&3
done
