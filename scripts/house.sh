#!/usr/bin/env bash
# The size of the house: files of code, median and 90th percentile of their lines, and those above 400; above 600 it fails.
# And its signposts: every path in the table of CONTRIBUTING.md leads somewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.rs' '*.c' '*.h' '*.go' '*.sh' '*.proto' | xargs wc -l | awk '$2 != "total" { print $1, $2 }' | sort -n |
  awk '{ lines[NR] = $1; name[NR] = $2 }
       END {
         printf "the house: %d files, median %d lines, p90 %d, longest %d\n", NR, lines[int((NR + 1) / 2)], lines[int(NR * 0.9)], lines[NR]
         for (i = 1; i <= NR; i++) if (lines[i] > 400) printf "  above 400: %d %s\n", lines[i], name[i]
         if (lines[NR] > 600) { print "  above 600 lines: split it"; exit 1 }
       }'

lost=()
while read -r path; do
  # Braces are the one thing to expand; nothing else that a shell would act on is let through.
  [[ $path =~ ^[A-Za-z0-9_./{},-]+$ ]] || { lost+=("$path"); continue; }
  for one in $(eval "echo $path"); do [ -e "$one" ] || lost+=("$one"); done
done < <(grep '^|' CONTRIBUTING.md | grep -o '`[^`]*/[^`]*`' | tr -d '`')
[ ${#lost[@]} -eq 0 ] || { echo "CONTRIBUTING.md points to what is not there: ${lost[*]}"; exit 1; }
