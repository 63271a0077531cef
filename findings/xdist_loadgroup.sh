#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: `--dist loadgroup` does not keep a group in one worker, and says nothing.
#
# The manual of pytest-xdist: tests marked with xdist_group("name") run in the same worker. With pytest 9.2.0 they are shared out one by
# one. The cause: a worker writes the group into the attribute `_nodeid` of each test, and pytest 9.2.0 no longer reads that attribute;
# the scheduler therefore sees names without a group. With pytest 9.0.0 the same test file runs in one worker. `--dist loadfile` and
# `--dist loadscope` read nothing but the name, and work with both.
#
# Output seen:
#   pytest 9.0.0: 12 tests of one group ran in 1 worker
#   pytest 9.2.0: 12 tests of one group ran in 2 workers
#
# Exits with 1 if that changes. Needs Python 3.11 or later and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_group.py" <<'PYTHON'
import time

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("number", range(12))
def test_of_the_group(number):
    time.sleep(0.05)
PYTHON

workers() { # the number of workers that ran the 12 tests, with this version of pytest
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0 2>/dev/null
  (cd "$folder" && "$folder/$1/bin/python" -m pytest -p no:cacheprovider -n 2 --dist loadgroup -vv test_group.py) |
    grep -oE '^\[gw[0-9]+\]' | sort -u | wc -l | tr -d ' '
}

before=$(workers 9.0.0)
now=$(workers 9.2.0)
echo "pytest 9.0.0: 12 tests of one group ran in $before worker"
echo "pytest 9.2.0: 12 tests of one group ran in $now workers"
[ "$before" = 1 ] && [ "$now" = 2 ]
