#!/usr/bin/env bash
# covered.sh DIR COMMAND...: prints how much of what the commands are built from
# is covered by the tests (DIR/tests.out, by make race), by the agent on the
# machines of e2e (DIR/e2e.out, by make e2e), and by both together; and writes
# DIR/all.out, for go tool cover.
#
# What no command is built from is left out: the checks, helpers of tests, tools
# of the repository. A profile counts a block once for every test binary; here it
# is covered when any of them has run it.
set -euo pipefail
dir=$1
shift
for profile in tests e2e; do
  [ -s "$dir/$profile.out" ] || {
    echo "covered.sh: $dir/$profile.out is missing: make race and make e2e write the profiles" >&2
    exit 1
  }
done
module=$(go list -m)
go list -deps "$@" | sed -n "s,^$module/,,p" >"$dir/packages"

awk -v module="$module/" -v all="$dir/all.out" '
  function percent(part, whole) { return whole ? sprintf("%.1f%%", 100 * part / whole) : "-" }
  function row(name, key) {
    printf "%-28s %10d %9s %9s %9s\n", name, size[key], percent(hit["tests", key], size[key]),
      percent(hit["e2e", key], size[key]), percent(hit["both", key], size[key])
  }
  FNR == 1 { run = FILENAME ~ /tests\.out$/ ? "tests" : "e2e" }
  FILENAME ~ /packages$/ { packages[++count] = $1; shipped[$1] = 1; next }
  FNR > 1 { # FILE:FROM,TO STATEMENTS TIMES
    block = $1; sub(module, "", block)
    package = block; sub(/\/[^\/]*$/, "", package)
    if (!(package in shipped)) next
    statements[block] = $2; in_package[block] = package
    if ($3 > 0) covered[run, block] = 1
  }
  END {
    print "mode: set" >all
    for (block in statements) {
      tests = ("tests", block) in covered; e2e = ("e2e", block) in covered
      print module block, statements[block], tests || e2e >all
      for (i = 1; i <= 2; i++) {
        key = i == 1 ? in_package[block] : "total"
        size[key] += statements[block]
        hit["tests", key] += tests * statements[block]
        hit["e2e", key] += e2e * statements[block]
        hit["both", key] += (tests || e2e) * statements[block]
      }
    }
    printf "%-28s %10s %9s %9s %9s\n", "", "statements", "tests", "e2e", "both"
    for (i = 1; i <= count; i++) row(packages[i], packages[i])
    row("total", "total")
  }' "$dir/packages" "$dir/tests.out" "$dir/e2e.out"
rm "$dir/packages"
