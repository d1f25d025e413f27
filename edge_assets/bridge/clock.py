"""Received time, and whether to believe it. A Raspberry Pi without a battery starts in the past.

Three clocks are read, all in microseconds: UTC (what a record is dated with), the time since the machine's boot
(never set, so that it can correct the first), and the boot's identifier (which says what it counts from).
"""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

STA_UNSYNC = 0x0040
TIME_SERVICES = {"chronyd", "ntpd", "ntpd-rs", "openntpd", "systemd-timesyn"}
TIME_SERVICE_FOLDERS = ("run/systemd/timesync", "run/chrony", "run/chronyd", "run/ntpd")
CHECK_SECONDS = 1.0


class _Timex(ctypes.Structure):
    """The head of `struct timex` (linux/timex.h); the rest is room for the kernel to write to."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def kernel_says_synchronised() -> bool:
    """Whether the kernel's clock is disciplined by a time service (adjtimex without STA_UNSYNC)."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), f"adjtimex: {errno.errorcode.get(ctypes.get_errno(), '?')}")
    return not timex.status & STA_UNSYNC


class Clock:
    """The machine's clocks. `synchronised` stays true once it was: a clock that was set is not unset.

    `trust` is the setting; `root` and `kernel` are for tests.
    """

    def __init__(
        self,
        trust: Literal["auto", "always", "kernel"],
        root: Path = Path("/"),
        kernel: Callable[[], bool] = kernel_says_synchronised,
    ) -> None:
        self._kernel = kernel
        self.boot = boot_id(root)
        doubted = trust == "kernel" or (trust == "auto" and not has_hardware_clock(root) and has_time_service(root))
        self.synchronised = not doubted or kernel()
        self._checked = time.monotonic()

    def now(self) -> tuple[int, int]:
        """(microseconds since 1970 UTC, microseconds since the machine's boot)."""
        return time.time_ns() // 1_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000

    def became_synchronised(self) -> bool:
        """True once: when a doubted clock has been set. Looks about once a second, cheap to ask more often."""
        if self.synchronised or time.monotonic() - self._checked < CHECK_SECONDS:
            return False
        self._checked = time.monotonic()
        self.synchronised = self._kernel()
        return self.synchronised

    def offset_us(self) -> int:
        """What to add to a time since boot to get UTC; true only while `synchronised`."""
        at, mono = self.now()
        return at - mono


def boot_id(root: Path = Path("/")) -> str:
    """The first 12 hex digits of the boot's identifier: enough to tell a machine's boots apart."""
    return (root / "proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:12]


def has_hardware_clock(root: Path = Path("/")) -> bool:
    return any((root / "sys/class/rtc").glob("rtc*"))


def has_time_service(root: Path = Path("/")) -> bool:
    """Whether something is there that will set the clock: without one, the doubt would never end."""
    if any((root / folder).exists() for folder in TIME_SERVICE_FOLDERS):
        return True
    return any(_command(process) in TIME_SERVICES for process in (root / "proc").glob("[0-9]*"))


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""
