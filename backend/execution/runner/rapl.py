"""The energy that a Linux machine's processors and memory have taken, as their own counters say (RAPL).

Source: the Linux kernel's power capping framework, /sys/class/powercap: `energy_uj` counts microjoules and begins
again at 0 after `max_energy_range_uj`. Only root may read it on most machines.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_J_PER_UJ = 1e-6


class Rapl:
    """Reads the counters of one machine: every processor package, and memory that no package counts."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._domains = [
            domain
            for domain in sorted(root.glob("intel-rapl:*"))
            if _name(domain).startswith("package-") or _name(domain) == "dram"
        ]
        self._counted_uj: dict[Path, int] = {}

    def joules(self) -> float | None:
        """What was taken since this was last asked; None the first time, and where a counter cannot be read."""
        now_uj = {domain: _number(domain / "energy_uj") for domain in self._domains}
        before_uj, self._counted_uj = self._counted_uj, {d: n for d, n in now_uj.items() if n is not None}
        total_uj = 0
        for domain, counted_uj in now_uj.items():
            before = before_uj.get(domain)
            if counted_uj is None or before is None:
                return None
            since_uj = counted_uj - before
            if since_uj < 0:  # it has begun again at 0, once: it is asked more often than it can go round
                range_uj = _number(domain / "max_energy_range_uj")
                if range_uj is None:
                    return None
                since_uj += range_uj
            total_uj += since_uj
        return total_uj * _J_PER_UJ if now_uj else None


def _name(domain: Path) -> str:
    try:
        return (domain / "name").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
