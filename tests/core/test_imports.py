"""What is imported, and when: a name when it is first used, and nothing while a limiter's lock is held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import throttle
import throttle.limits

SCRIPT = """
import os, sys
from throttle import Limiter
from throttle.costs import CallCost

HEADERS = {
    "x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "599", "x-ratelimit-reset-requests": "100ms"
}
LIMITS = '''
version: 1
families: {all: {models: ["*"]}}
tiers:
  tier-1: {all: {rpm: %d, rpd: {limit: 100, resets: "00:00 Europe/Berlin"}}}
  tier-2: {all: {rpm: 600, rpd: {limit: 500, resets: "00:00 UTC"}}}
'''


class Finder:
    def find_spec(self, name, path=None, target=None):
        if limiter._lock.locked():
            found.append(name)


def write(rpm):
    with open(sys.argv[1], "w") as file:
        file.write(LIMITS % rpm)
    os.utime(sys.argv[1], (0, rpm))


found, now_us = [], [0]
write(60)
limiter = Limiter(sys.argv[1], clock=lambda: now_us[0])
sys.meta_path.insert(0, Finder())
for rpm in (60, 61):  # the second one is an edit
    write(rpm)
    now_us[0] += 2_000_000
    with limiter.acquire("m"):
        pass
    permit = limiter.permit_for("", "gateway.test", CallCost({"model": "m", "input": "x"}, "/embeddings"))
    while not limiter._admit_now(permit):
        now_us[0] += 100_000
    permit.observe(HEADERS)
    permit.close()
    limiter.snapshot()
assert limiter.tier == "tier-2", limiter.tier
print(*found)
"""


@pytest.mark.parametrize("package", [throttle, throttle.limits], ids=lambda package: package.__name__)
def test_a_package_has_the_names_that_it_tells_and_no_others(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is vars(package)[name]  # found without a detour from then on
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'bogus'"):
        _ = package.bogus


def test_importing_the_package_imports_nothing_of_what_is_behind_its_names() -> None:
    code = "import sys, throttle; print(*sorted(name for name in sys.modules if name.startswith('throttle.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["throttle.lazily"]


def test_nothing_is_imported_while_the_lock_of_a_limiter_is_held(tmp_path: Path) -> None:
    """Every caller would wait for it, and an import has locks of its own."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "limits.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
