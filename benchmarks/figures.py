"""Figures and their targets: minimum, median, maximum of several readings, met or not."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TARGETS = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True)
class Target:
    """What is asked for. Without a bound it is only printed."""

    name: str
    title: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def asked(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else "–"

    def met(self, reading: float) -> bool | None:
        if self.at_most is not None:
            return reading <= self.at_most
        return reading >= self.at_least if self.at_least is not None else None


@dataclass
class Figures:
    """Readings by the target's name. The median counts."""

    readings: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.readings.setdefault(name, []).append(value)

    def rows(self) -> Iterable[tuple[Target, list[float]]]:
        return ((target, sorted(self.readings.get(target.name, []))) for target in targets())


def targets() -> list[Target]:
    return [Target(name=name, **facts) for name, facts in tomllib.loads(TARGETS.read_text()).items()]


def table(figures: Figures) -> str:
    """A Markdown table: asked, reached (minimum, median, maximum), met or not, or not measured."""
    lines = ["| figure | asked | min | median | max | unit | met |", "|---|---|---|---|---|---|---|"]
    for target, readings in figures.rows():
        if not readings:
            lines.append(f"| {target.title} | {target.asked} | | | | {target.unit} | not measured |")
            continue
        median = statistics.median(readings)
        met = {True: "yes", False: "**no**", None: "–"}[target.met(median)]
        shown = " | ".join(
            f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            for value in (readings[0], median, readings[-1])
        )
        lines.append(f"| {target.title} | {target.asked} | {shown} | {target.unit} | {met} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def percentile_ms(seconds: Iterable[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
